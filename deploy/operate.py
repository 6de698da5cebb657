"""The commands of operators: status, drain, roll, down."""

from typing import Annotated

import typer

from deploy.config import RayConfig
from deploy.console import console, run
from deploy.control_client import ControlClient
from deploy.ray_environment import prepare_ray
from deploy.status_table import print_status

DEFAULT_SUPERVISOR = "127.0.0.1:50050"

SupervisorAddress = Annotated[
    str, typer.Option("--supervisor", help="host:port that dvd serve logs for its supervisor.")
]


def status(supervisor: SupervisorAddress = DEFAULT_SUPERVISOR) -> None:
    """Show replicas and routers of a running cluster, and how they are."""
    run(_status(supervisor))


def drain(
    replica: Annotated[str, typer.Argument(help="Its name, such as vision-0.")],
    undo: Annotated[bool, typer.Option("--undo", help="Start a drained replica again.")] = False,
    supervisor: SupervisorAddress = DEFAULT_SUPERVISOR,
) -> None:
    """Take a replica out: no new work, running answers end, then it stops."""
    run(_drain(supervisor, replica, undo))


def roll(
    model: Annotated[str, typer.Argument(help="Model directory or hub id.")],
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    supervisor: SupervisorAddress = DEFAULT_SUPERVISOR,
) -> None:
    """Serve another model from now on: new replicas and routers start, then the old ones drain."""
    run(_roll(supervisor, model, revision))


def down(
    address: Annotated[str, typer.Option(help="Ray cluster to clear of replicas.")],
    auth_mode: Annotated[
        str, typer.Option(help="Ray's authentication: token, disabled.")
    ] = "token",
) -> None:
    """Remove the replicas that dvd serve --address has left on a Ray cluster."""
    config = RayConfig.model_validate({"address": address, "auth_mode": auth_mode})
    prepare_ray(config)
    from deploy.down import remove_all  # noqa: PLC0415  # Ray takes a second

    for name in remove_all(config):
        console.print(f"removed {name}")


async def _status(supervisor: str) -> None:
    async with ControlClient(supervisor) as client:
        print_status(await client.status(), console)


async def _roll(supervisor: str, model: str, revision: str | None) -> None:
    async with ControlClient(supervisor) as client:
        fingerprint = await client.roll(model, revision)
        console.print(f"serving {model}, fingerprint {fingerprint}")


async def _drain(supervisor: str, replica: str, undo: bool) -> None:
    async with ControlClient(supervisor) as client:
        if undo:
            await client.bring_back(replica)
            console.print(f"{replica} serves")
        else:
            await client.drain(replica)
            console.print(f"{replica} is drained")
