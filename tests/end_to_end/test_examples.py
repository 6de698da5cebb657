"""Every script in `examples/` that asks, as a person runs it, against the shipped model."""

import asyncio
import sys
from pathlib import Path

from deploy.config import DEFAULT_MODEL
from tests.local_cluster import local_cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
OVER_HTTP = {
    "text_only": ["eight"],
    "one_picture": ["TOWN"],
    "several_turns": ["yellow", "blue"],
}
OVER_GRPC = {
    "combined_pictures": ["3691", "tiles of each picture: 7 3"],
    "separate_pictures": ["the first"],
    "batch": [
        "signpost.png: What does the yellow sign say? TOWN",
        "number_plate.png: Which number does the pink sign show? 3691",
        "dots.png: Count the dots. five",
        "icons.png: Which colour does the circle icon have? blue",
    ],
    "streaming": [
        "a cyan picture with a red diamond and an orange circle and a pink triangle"
        " and a black square",
        "visual tokens: 80 -> 44",
    ],
}


async def run(name: str, address: str) -> list[str]:
    """The lines that an example prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, EXAMPLES / f"{name}.py", "--address", address), stdout=pipe, stderr=pipe
    )
    shown, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return shown.decode().splitlines()


async def test_every_example_is_answered_rightly() -> None:
    async with local_cluster(Path(DEFAULT_MODEL)) as cluster:
        http = cluster.router.doors.http_address
        asked = [run(name, http) for name in OVER_HTTP]
        asked += [run(name, cluster.address) for name in OVER_GRPC]
        shown = await asyncio.gather(*asked)
    assert dict(zip([*OVER_HTTP, *OVER_GRPC], shown, strict=True)) == OVER_HTTP | OVER_GRPC


def test_every_example_is_listed_and_run() -> None:
    scripts = {file.stem for file in EXAMPLES.glob("*.py")} - {"address", "make_pictures"}
    assert scripts == set(OVER_HTTP | OVER_GRPC)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.py`" in listed for name in scripts)
