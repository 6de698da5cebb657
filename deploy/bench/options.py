"""What `dvd bench` is asked to do; apart from the rest, so that the command line starts at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.bench.mix import Mix

Backend = Literal["grpc", "openai"]
PictureFormat = Literal["jpeg", "png"]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """A load, and what to make of it.

    Attributes:
        backend: Which door.
        server: Where it is; None for the door's usual port on this machine.
        api_key_file: File with the key; None for the environment's, or none.
        num_prompts: Conversations.
        num_warmups: Conversations before these that do not count.
        request_rate: Conversations a second; infinity sends all at once.
        burstiness: 1 for Poisson arrivals, less for bursts, more for even gaps.
        max_concurrency: Most conversations at once; None for any number.
        mix: What they are made of.
        resolutions: Sizes of drawn pictures, as the command line has them.
        picture_format: Of drawn pictures.
        image_dir: Folder of pictures to send instead.
        ignore_eos: Have every answer be as long as its limit.
        temperature: 0 for greedy.
        timeout_seconds: Deadline of each request.
        seed: Of everything drawn.
        goodput: Objectives, as the command line has them.
        percentiles: To show, as the command line has them.
        json_file: Where to write the numbers; None for nowhere.
        save_detailed: Whether every request is written too.
        plot: PNG file to draw times and rates into; None for no drawing.
    """

    backend: Backend = "grpc"
    server: str | None = None
    api_key_file: Path | None = None
    num_prompts: int = 100
    num_warmups: int = 0
    request_rate: float = float("inf")
    burstiness: float = 1.0
    max_concurrency: int | None = None
    mix: Mix = field(default_factory=Mix)
    resolutions: str = "448x448"
    picture_format: PictureFormat = "jpeg"
    image_dir: Path | None = None
    ignore_eos: bool = False
    temperature: float = 0.0
    timeout_seconds: float = 600.0
    seed: int = 0
    goodput: tuple[str, ...] = ()
    percentiles: str = "99"
    json_file: Path | None = None
    save_detailed: bool = False
    plot: Path | None = None
