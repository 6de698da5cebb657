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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.model_config import CheckpointLayout
from common.result import Goal, Result
from common.types import ResolutionScope
from deploy.client import InferenceClient
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
    directory = folder / f"{'flash' if flash else 'plain'}-{layout}"
    build_checkpoint(directory, CheckpointOptions(dtype="float32", flash=flash, layout=layout))
    return directory


@contextmanager
def serving(model_dir: Path) -> Iterator[str]:
    """Run `dvd serve` in a process of its own; the address of its public door."""
    command = [str(Path(sys.executable).parent / "dvd"), "serve", str(model_dir)]
    process = subprocess.Popen(
        [*command, "--grpc-port", "0"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        lines = iter(process.stderr or ())
        yield next(line for line in lines if " serving " in line).split()[-1]
    finally:
        process.terminate()
        process.communicate()


async def ask_all(address: str) -> dict[str, tuple[int, ...]]:
    """Ask a cluster every conversation; its tokens by name."""
    client = InferenceClient(address)
    answers = {}
    for name in list(CONVERSATIONS)[:PER_MODEL]:
        request = wire_request(CONVERSATIONS[name], MAX_TOKENS)
        answers[name] = (await client.answer(request)).token_ids
    await client.close()
    return answers


def count_equal(model_dir: Path, reference: Reference, result: Result) -> int:
    """Ask a cluster and a reference the same; count equal answers."""
    with serving(model_dir) as address:
        answers = asyncio.run(ask_all(address))
    for name, token_ids in answers.items():
        same = token_ids == reference(CONVERSATIONS[name])
        result.rows.append({"model": model_dir.name, "request": name, "equal": same})
    return sum(row["equal"] for row in result.rows if row["model"] == model_dir.name)


def measure_answers(result: Result) -> None:
    """Compare 24 answers with their references."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = build(folder, False, CheckpointLayout.ORIGINAL)
        native = build(folder, False, CheckpointLayout.TRANSFORMERS)
        flash = build(folder, True, CheckpointLayout.ORIGINAL)
        equal = count_equal(
            plain,
            lambda asked: plain_reference.answer(native, asked, MAX_TOKENS).token_ids,
            result,
        ) + count_equal(
            flash,
            lambda asked: (
                flash_reference.answer(flash, asked, MAX_TOKENS, ResolutionScope.REQUEST).token_ids
            ),
            result,
        )
    name = "cluster answers equal to the one-process reference, of 24"
    result.goals.append(Goal(name, equal, 24, "higher"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    measure_demo(result)
    measure_answers(result)
    result.report(arguments.json)


if __name__ == "__main__":
    main()
