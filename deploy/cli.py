"""The `dvd` command: serve, ask, demo, version.

Those of operators are in `deploy/operate.py`, the load generator in `deploy/bench/command.py`, the
check of models in `deploy/check_command.py`.
"""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import ConfigError
from common.log import set_up_logging
from common.model_files import RANDOM_WEIGHTS_NOTE
from deploy.api_key import find_api_key
from deploy.ask_options import AskOptions
from deploy.bench.command import bench
from deploy.check_command import check
from deploy.config import DeployConfig, load_config, parse_assignment
from deploy.console import USAGE_ERROR, console, run, show_error
from deploy.model import find_model
from deploy.operate import down, drain, roll, status
from deploy.ray_environment import prepare_ray

DEFAULT_SERVER = "127.0.0.1:50051"

app = typer.Typer(
    help="Serve InternVL3.5 with decoupled vision and language.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(status)
app.command()(drain)
app.command()(roll)
app.command()(down)
app.command()(bench)
app.command()(check)

Model = Annotated[str | None, typer.Argument(help="Model directory or hub id.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file; flags win over it.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any key of the configuration, as key=value; may be repeated."),
]
VisionReplicas = Annotated[
    int | None,
    typer.Option("--vision-replicas", "--encoder-replicas", help="Vision replicas.", min=1),
]
LanguageReplicas = Annotated[
    int | None, typer.Option("--language-replicas", help="Language replicas.", min=1)
]
TensorParallelSize = Annotated[
    int | None,
    typer.Option("--tensor-parallel-size", "--tp", help="GPUs of a language replica.", min=1),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
GpuMemory = Annotated[
    float | None,
    typer.Option(help="Share of a card's memory in use once the KV cache is made.", min=0, max=1),
]


ApiKeyFile = Annotated[
    Path | None, typer.Option(help="File with the key of the doors; or set DVD_API_KEY.")
]


@app.command()
def serve(
    model: Model = None,
    config: ConfigFile = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    served_model_name: Annotated[str | None, typer.Option(help="Name clients give.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the public door.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Public gRPC port; 0: a free one.")] = None,
    http_port: Annotated[
        int | None, typer.Option("--http-port", "--port", help="Public HTTP port; 0: a free one.")
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Router's metrics port.")] = None,
    vision_replicas: VisionReplicas = None,
    language_replicas: LanguageReplicas = None,
    tensor_parallel_size: TensorParallelSize = None,
    routers: Annotated[int | None, typer.Option(help="Routers.", min=1)] = None,
    api_key_file: ApiKeyFile = None,
    device: Device = None,
    gpu_memory_utilization: GpuMemory = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join.")] = None,
    json_logs: Annotated[
        bool | None, typer.Option("--json-logs", help="Log one JSON object a line.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="Lowest level that is logged.")] = None,
    assign: Assignments = None,
    print_config: Annotated[bool, typer.Option(help="Show the whole configuration.")] = False,
) -> None:
    """Start a cluster and serve until told to stop."""
    flags = {
        "model": model,
        "revision": revision,
        "served_model_name": served_model_name,
        "router.host": host,
        "router.grpc_port": grpc_port,
        "router.http_port": http_port,
        "router.metrics_port": metrics_port,
        "vision.placement.replicas": vision_replicas,
        "language.placement.replicas": language_replicas,
        "language.placement.tensor_parallel_size": tensor_parallel_size,
        "routers": routers,
        "device": device,
        "language.service.gpu_memory_utilization": gpu_memory_utilization,
        "ray.address": address,
        "log.json_lines": json_logs,
        "log.level": log_level,
    }
    settings = _settings(config, flags, assign)
    if print_config:
        console.print_json(settings.model_dump_json())
        return
    key = _api_key(api_key_file, settings.api_key_file)
    set_up_logging("dvd", settings.log.level, settings.log.json_lines)
    run(_serve(settings, key))


@app.command()
def ask(
    words: Annotated[
        list[str], typer.Argument(metavar="IMAGE... QUESTION", help="Pictures, then the question.")
    ],
    server: Annotated[str, typer.Option(help="host:port of routers: a,b.")] = DEFAULT_SERVER,
    max_tokens: Annotated[int | None, typer.Option(help="Answer limit.", min=1)] = None,
    resolution: Annotated[
        str | None, typer.Option(help="Scope of ViR: request, image, absolute or off.")
    ] = None,
    relative_threshold: Annotated[
        float | None, typer.Option(help="Quantile of scores above which tiles may be compressed.")
    ] = None,
    absolute_threshold: Annotated[
        float | None, typer.Option(help="Lowest score of a compressed tile.")
    ] = None,
    max_tiles: Annotated[
        int | None, typer.Option(help="Most tiles of each picture, thumbnail not counted.", min=1)
    ] = None,
    detail: Annotated[
        str | None, typer.Option(help="low: each picture as one tile; high: as many as allowed.")
    ] = None,
    combine: Annotated[
        bool, typer.Option("--combine", help="Put all pictures in one place of the prompt.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="Draw tiles, scores and resolutions of the one picture into this PNG."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest tokens.")] = 0.0,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens up to this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a drawn answer.", min=0)] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends the answer; may be repeated.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Answers to give.", min=1)] = 1,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Ask a running cluster about pictures; the answer streams."""
    options = AskOptions(
        server=server,
        max_tokens=max_tokens,
        scope=resolution,
        explain=explain,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=tuple(stop or ()),
        num_choices=n,
        relative_threshold=relative_threshold,
        absolute_threshold=absolute_threshold,
        max_tiles=max_tiles,
        detail=detail,
        is_combined=combine,
        api_key=_api_key(api_key_file),
    )
    run(_ask(words, options))


@app.command()
def demo(
    model: Model = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the answers to this file.")
    ] = None,
    config: ConfigFile = None,
    assign: Assignments = None,
) -> None:
    """Start a cluster on this machine, ask it about the example pictures, stop it."""
    flags = {"model": model, "router.grpc_port": 0}
    settings = _settings(config, flags, assign)
    key = _api_key(None, settings.api_key_file)
    set_up_logging("dvd", "WARNING")
    run(_demo(settings, key, json_file))


@app.command()
def version() -> None:
    """Show the installed version."""
    typer.echo(f"dvd {installed_version('dvd-serving')}")


def main() -> None:
    """Entry point."""
    app()


def _settings(config: Path | None, flags: dict[str, Any], assign: list[str] | None) -> DeployConfig:
    try:
        overrides = {key: value for key, value in flags.items() if value is not None}
        overrides.update(parse_assignment(text) for text in assign or ())
        return load_config(config, overrides)
    except ConfigError as error:
        show_error(error)
        raise typer.Exit(USAGE_ERROR) from error


def _api_key(flag: Path | None, configured: Path | None = None) -> str:
    try:
        return find_api_key(flag, configured)
    except ConfigError as error:
        show_error(error)
        raise typer.Exit(USAGE_ERROR) from error


async def _serve(settings: DeployConfig, api_key: str) -> None:
    prepare_ray(settings.ray)
    from deploy.serve import serve_until_told  # noqa: PLC0415  # Ray and torch take seconds

    await serve_until_told(settings, api_key)


async def _ask(words: list[str], options: AskOptions) -> None:
    from deploy.ask import ask_and_show  # noqa: PLC0415

    await ask_and_show(console, words, options)


async def _demo(settings: DeployConfig, api_key: str, json_file: Path | None) -> None:
    prepare_ray(settings.ray)
    from deploy.demo import run_demo, write_rows  # noqa: PLC0415
    from deploy.supervisor import Supervisor  # noqa: PLC0415

    note = find_model(settings) / RANDOM_WEIGHTS_NOTE
    supervisor = Supervisor(settings, api_key)
    try:
        with console.status("Starting a cluster: Ray, a vision replica, a language replica…"):
            ready = await supervisor.start()
        if note.is_file():
            console.print(f"[yellow]{note.read_text().strip()}[/yellow]")
        rows = await run_demo(ready.router.address, console, api_key)
    finally:
        await supervisor.stop()
    if json_file is not None:
        write_rows(json_file, rows)
