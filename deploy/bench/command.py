"""The command line of `dvd bench`; option names are those of `vllm bench serve` and SGLang's."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.api_key import find_api_key
from deploy.bench.mix import Mix
from deploy.bench.options import Backend, BenchOptions, PictureFormat
from deploy.console import console, errors, run
from deploy.signals import stop_on_signals

if TYPE_CHECKING:
    from deploy.bench.door import Door

DEFAULT_GRPC = "127.0.0.1:50051"
DEFAULT_HTTP = "127.0.0.1:8000"
INTERRUPTED = 130


def bench(
    backend: Annotated[Backend, typer.Option(help="Which door.")] = "grpc",
    server: Annotated[
        str | None,
        typer.Option(
            "--server", "--base-url", help="host:port; over gRPC also several: a,b; or a URL."
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the key; else DVD_API_KEY, else none.")
    ] = None,
    num_prompts: Annotated[int, typer.Option(help="Conversations.", min=1)] = 100,
    num_warmups: Annotated[int, typer.Option(help="Before these, not counted.", min=0)] = 0,
    request_rate: Annotated[
        float, typer.Option(help="Conversations a second, at Poisson times; inf: all at once.")
    ] = float("inf"),
    burstiness: Annotated[
        float, typer.Option(help="Less than 1: in bursts; more: at even times.")
    ] = 1.0,
    max_concurrency: Annotated[int | None, typer.Option(help="Most at once.", min=1)] = None,
    random_input_len: Annotated[int, typer.Option(help="Tokens of each question.", min=1)] = 32,
    random_output_len: Annotated[int, typer.Option(help="Limit of each answer.", min=1)] = 32,
    random_range_ratio: Annotated[
        float, typer.Option(help="Draw both lengths from this share less to more.", min=0, max=1)
    ] = 0.0,
    image_count: Annotated[int, typer.Option(help="Pictures of a conversation.", min=0)] = 1,
    image_resolution: Annotated[
        str, typer.Option(help="WxH, or several with weights: 448x448:3,896x672:1.")
    ] = "448x448",
    image_format: Annotated[PictureFormat, typer.Option(help="Of drawn pictures.")] = "jpeg",
    image_dir: Annotated[
        Path | None, typer.Option(help="Send the pictures of this folder.", exists=True)
    ] = None,
    repeat_share: Annotated[
        float, typer.Option(help="Share with pictures that came before.", min=0, max=1)
    ] = 0.0,
    text_share: Annotated[float, typer.Option(help="Share without.", min=0, max=1)] = 0.0,
    turns: Annotated[int, typer.Option(help="Of each conversation.", min=1)] = 1,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Have every answer reach its limit.")
    ] = False,
    temperature: Annotated[float, typer.Option(help="0 for greedy.", min=0)] = 0.0,
    timeout_seconds: Annotated[float, typer.Option(help="Deadline of each request.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    goodput: Annotated[
        list[str] | None,
        typer.Option(help="Objective in milliseconds, as ttft:500, tpot:50, e2el:5000; repeat it."),
    ] = None,
    metric_percentiles: Annotated[str, typer.Option(help="To show, as 50,90,99.")] = "99",
    json_file: Annotated[
        Path | None, typer.Option("--save-result", "--json", help="Write the numbers here.")
    ] = None,
    save_detailed: Annotated[
        bool, typer.Option("--save-detailed", help="Write every request too.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw times and rates into this PNG.")] = None,
) -> None:
    """Send a load to a running cluster and show how fast it answers."""
    options = BenchOptions(
        backend=backend,
        server=server,
        api_key_file=api_key_file,
        num_prompts=num_prompts,
        num_warmups=num_warmups,
        request_rate=request_rate,
        burstiness=burstiness,
        max_concurrency=max_concurrency,
        mix=Mix(
            input_tokens=random_input_len,
            output_tokens=random_output_len,
            range_ratio=random_range_ratio,
            num_turns=turns,
            num_pictures=image_count,
            text_share=text_share,
            repeat_share=repeat_share,
        ),
        resolutions=image_resolution,
        picture_format=image_format,
        image_dir=image_dir,
        ignore_eos=ignore_eos,
        temperature=temperature,
        timeout_seconds=timeout_seconds,
        seed=seed,
        goodput=tuple(goodput or ()),
        percentiles=metric_percentiles,
        json_file=json_file,
        save_detailed=save_detailed,
        plot=plot,
    )
    run(_bench(options))


async def _bench(options: BenchOptions) -> None:
    from deploy.bench.bench import Consoles, run_bench  # noqa: PLC0415  # numpy and gRPC take time

    door = _door(options)
    stopping: asyncio.Event = stop_on_signals()
    try:
        await run_bench(options, door, Consoles(console, errors), stopping)
    finally:
        await door.close()
    if stopping.is_set():
        raise typer.Exit(INTERRUPTED)


def _door(options: BenchOptions) -> "Door":
    from deploy.bench.grpc_door import GrpcDoor  # noqa: PLC0415
    from deploy.bench.openai_door import OpenAiDoor  # noqa: PLC0415

    key = find_api_key(options.api_key_file)
    if options.backend == "openai":
        return OpenAiDoor(options.server or DEFAULT_HTTP, key)
    return GrpcDoor(*(options.server or DEFAULT_GRPC).split(","), api_key=key)
