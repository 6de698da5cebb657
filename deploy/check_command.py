"""The `dvd check` command."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from deploy.console import console, run

Share = Annotated[
    float | None,
    typer.Option(
        help="Share of tiles that ViR compresses; half with a resolution router.", min=0, max=1
    ),
]


def check(
    model: Annotated[str, typer.Argument(help="Model directory, or hub id in the cache.")],
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    gpu_memory_gib: Annotated[float, typer.Option(help="Memory of each GPU.", min=1)] = 80.0,
    gpu_memory_utilization: Annotated[
        float, typer.Option(help="Share of it that may be in use.", min=0.01, max=1)
    ] = 0.9,
    tiles: Annotated[float, typer.Option(help="Tiles of a request's pictures.", min=0)] = 5.0,
    text_tokens: Annotated[float, typer.Option(help="Tokens of its text.", min=0)] = 64.0,
    output_tokens: Annotated[float, typer.Option(help="Tokens of its answer.", min=1)] = 256.0,
    compressed_share: Share = None,
    config_file: Annotated[
        Path | None,
        typer.Option("--write-config", help="Write a configuration for dvd serve here."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write what was found to this file.")
    ] = None,
) -> None:
    """Say whether a model will load and what it takes; no GPU is needed, no weight is read."""
    # What is made lives until the command ends, so that looking for garbage, a quarter of its time,
    # finds none.
    gc.disable()
    try:
        from deploy.check import CheckOptions, run_check  # noqa: PLC0415  # torch takes seconds

        options = CheckOptions(
            model=model,
            revision=revision,
            gpu_memory_gib=gpu_memory_gib,
            gpu_memory_utilization=gpu_memory_utilization,
            tiles=tiles,
            text_tokens=text_tokens,
            output_tokens=output_tokens,
            compressed_share=compressed_share,
            config_file=config_file,
            json_file=json_file,
        )

        async def work() -> None:
            run_check(options, console)

        run(work())
    finally:
        gc.enable()
