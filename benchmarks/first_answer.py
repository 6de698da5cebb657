"""How long from a fresh clone to answered pictures, and are the answers right.

    python -m benchmarks.first_answer --json first_answer.json

Clones the committed state of this repository into a new folder and times `make demo` there twice:
with installation, and again. Then starts one real cluster with a plain model and one with a Flash
model and compares twelve greedy answers of each with a reference that runs in one process:
transformers' own model, and the published Flash rule written out tile by tile.
"""

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common.model_config import CheckpointLayout
from common.result import Goal, Result
from common.types import ResolutionScope
from deploy.client import InferenceClient
from deploy.config import RayConfig, load_config
from deploy.ray_environment import prepare_ray
from tests.integration.conversations import CONVERSATIONS, Conversation
from tests.integration.requests import wire_request
from tests.reference import flash_reference, plain_reference
from training.build_checkpoint import CheckpointOptions, build_checkpoint

ROOT = Path(__file__).parents[1]
MAX_TOKENS = 24
PER_MODEL = 12

Reference = Callable[[Conversation], tuple[int, ...]]


def time_demo(folder: Path) -> float:
    """Run `make demo` to its end; seconds."""
    began = time.monotonic()
    subprocess.run(["make", "demo"], cwd=folder, check=True)
    return time.monotonic() - began


def measure_demo(result: Result) -> None:
    """Time the first and the second demo of a fresh clone."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, second = time_demo(clone), time_demo(clone)
    name = "fresh clone to demo done, seconds (installation included)"
    result.goals.append(Goal(name, first, 240, "lower"))
    result.goals.append(Goal("second `make demo`, seconds", second, 60, "lower"))


def build(folder: Path, flash: bool, layout: CheckpointLayout) -> Path:
    """Build a float32 checkpoint; equal seeds give equal weights in every layout."""
    directory = folder / f"{layout}-{flash}"
    build_checkpoint(directory, CheckpointOptions(dtype="float32", flash=flash, layout=layout))
    return directory


async def count_equal(model_dir: Path, reference: Reference, result: Result) -> int:
    """Ask a cluster and a reference the same; count equal answers."""
    from deploy.supervisor import Supervisor  # noqa: PLC0415  # after prepare_ray

    equal = 0
    supervisor = Supervisor(load_config(None, {"model": str(model_dir), "router.grpc_port": 0}))
    try:
        ready = await supervisor.start()
        client = InferenceClient(ready.router.address)
        for name in list(CONVERSATIONS)[:PER_MODEL]:
            conversation = CONVERSATIONS[name]
            answer = await client.answer(wire_request(conversation, MAX_TOKENS))
            same = answer.token_ids == reference(conversation)
            equal += same
            result.rows.append({"model": ready.model_name, "request": name, "equal": same})
        await client.close()
    finally:
        await supervisor.stop()
    return equal


def measure_answers(result: Result) -> None:
    """Compare 24 answers with their references."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = build(folder, False, CheckpointLayout.ORIGINAL)
        native = build(folder, False, CheckpointLayout.TRANSFORMERS)
        flash = build(folder, True, CheckpointLayout.ORIGINAL)
        equal = asyncio.run(
            count_equal(
                plain,
                lambda asked: plain_reference.answer(native, asked, MAX_TOKENS).token_ids,
                result,
            )
        ) + asyncio.run(
            count_equal(
                flash,
                lambda asked: (
                    flash_reference.answer(
                        flash, asked, MAX_TOKENS, ResolutionScope.REQUEST
                    ).token_ids
                ),
                result,
            )
        )
    name = "cluster answers equal to the one-process reference, of 24"
    result.goals.append(Goal(name, equal, 24, "higher"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    prepare_ray(RayConfig())
    result = Result()
    measure_demo(result)
    measure_answers(result)
    result.show()
    if arguments.json is not None:
        result.write(arguments.json)


if __name__ == "__main__":
    main()
