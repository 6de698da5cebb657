"""Do all published models map, in every format, and how long does `dvd check` take on the largest.

    python -m benchmarks.model_check --json model_check.json

Models are headers without weights (`tests/sparse_checkpoint.py`), listed from the published sizes
and names and not from our loaders. A size in a format maps completely when both roles' modules, on
the meta device, find every tensor in its shape and leave none. The command is timed whole, as a
person runs it: Python's start and torch's import are most of it.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common.model_config import load_model_config
from common.model_files import list_tensors
from common.result import Goal, Result
from language_service.weights import check_language_model
from tests.published_models import (
    FLASH_MODELS,
    PUBLISHED_MODELS,
    PublishedFormat,
    PublishedModel,
    formats_of,
    published_model,
)
from tests.published_tensors import published_tensors
from tests.sparse_checkpoint import write_published
from vision_service.weights import check_vision_model

SHIPPED = Path(__file__).parents[1] / "models" / "internvl3_5-tiny-flash"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
LARGEST = "241B-A28B"
TIMED = ("1B", "8B-Flash", LARGEST)


def map_model(model: PublishedModel, published_format: PublishedFormat, result: Result) -> bool:
    """Map one size in one format; whether it maps completely, its parameters all counted."""
    listed = sum(each.num_elements for each in published_tensors(model, published_format))
    with TemporaryDirectory() as name:
        directory = write_published(model, published_format, Path(name))
        began = time.perf_counter()
        config, tensors = load_model_config(directory), list_tensors(directory)
        roles = check_vision_model(config, tensors), check_language_model(config, tensors)
        seconds = time.perf_counter() - began
    problems = sum(len(role.problems) for role in roles)
    held = sum(role.num_parameters for role in roles)
    result.rows.append(
        {
            "model": model.name,
            "format": published_format.value,
            "tensors": len(tensors),
            "parameters": held,
            "problems": problems,
            "seconds": seconds,
        }
    )
    return not problems and held == listed


def time_command(size: str, repeat: int, result: Result) -> float:
    """Median seconds of `dvd check` on one model, the process whole."""
    with TemporaryDirectory() as name:
        directory = write_published(published_model(size), PublishedFormat.ORIGINAL, Path(name))
        for file in TOKENIZER_FILES:
            shutil.copy(SHIPPED / file, directory)
        command = [str(Path(sys.executable).parent / "dvd"), "check", str(directory)]
        seconds = []
        for _ in range(repeat):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    row = {"model": f"dvd check {size}", "format": PublishedFormat.ORIGINAL.value}
    result.rows.append(
        row | {"tensors": None, "parameters": None, "problems": 0, "seconds": median}
    )
    return median


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each command")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    mapped = [
        map_model(model, each, result)
        for model in (*PUBLISHED_MODELS, *FLASH_MODELS)
        for each in formats_of(model)
    ]
    seconds = {size: time_command(size, arguments.repeat, result) for size in TIMED}
    name = "published sizes × formats that map completely on the meta device, share"
    result.goals.append(Goal(name, sum(mapped) / len(mapped), 1.0, "higher"))
    name = "`dvd check` on the 241B config, seconds"
    result.goals.append(Goal(name, seconds[LARGEST], 10, "lower"))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
