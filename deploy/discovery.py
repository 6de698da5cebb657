"""Tells Prometheus whom to scrape: a file and a page, kept true while replicas come and go.

The file is for `file_sd_configs`, the page for `http_sd_configs`; both hold the same list. The
file is replaced whole, so that nobody ever reads half of it.
"""

import asyncio
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from common.replica_server import UNSPECIFIED_HOSTS
from deploy.roster import Roster
from router.server import RouterReady

log = logging.getLogger(__name__)

# Routers that are exchanged by a roll are noticed within it.
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One process with metrics.

    Attributes:
        address: `host:port` of its `/metrics`.
        role: What it does.
        replica: Its name.
        model_name: Name that clients give to what it serves.
    """

    address: str
    role: str
    replica: str
    model_name: str

    @property
    def node(self) -> str:
        """Its host."""
        return self.address.rpartition(":")[0]


class Discovery:
    """The targets of one deployment.

    Args:
        roster: Who serves.
        routers: Where the routers are now.
        model_name: Name that clients give now.

    Attributes:
        own_address: `host:port` of the supervisor's own metrics; set it before `keep`.
    """

    def __init__(
        self,
        roster: Roster,
        routers: Callable[[], Sequence[RouterReady]],
        model_name: Callable[[], str],
    ) -> None:
        self.own_address = ""
        self._roster = roster
        self._routers = routers
        self._model_name = model_name

    @property
    def targets(self) -> tuple[ScrapeTarget, ...]:
        """Every process as it is now; any thread may ask."""
        model = self._model_name()
        replicas = [
            ScrapeTarget(each.metrics_address, each.role, each.name, model)
            for each in self._roster.replicas
        ]
        routers = [
            ScrapeTarget(reachable(each.metrics_address), "router", f"router-{index}", model)
            for index, each in enumerate(self._routers())
        ]
        own = ScrapeTarget(reachable(self.own_address), "supervisor", "supervisor", model)
        return (*replicas, *routers, own)

    def page(self) -> bytes:
        """The list as Prometheus reads it, from file and page alike."""
        groups = [
            {
                "targets": [target.address],
                "labels": {
                    "role": target.role,
                    "replica": target.replica,
                    "node": target.node,
                    "model_name": target.model_name,
                },
            }
            for target in self.targets
        ]
        return json.dumps(groups, indent=2).encode() + b"\n"

    async def keep(self, file: Path) -> None:
        """Keep a file true until cancelled; then it is gone."""
        written = b""
        try:
            while True:
                known, page = self._roster.replicas, self.page()
                if page != written and _is_replaced(file, page):
                    written = page
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._roster.changed_from(known)
        finally:
            _remove(file)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file that is there whole or as it was.

    Raises:
        ConfigError: It cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(file)
    except OSError as cause:
        raise ConfigError(f"Cannot write the list of targets {file}.") from cause


def _is_replaced(file: Path, content: bytes) -> bool:
    """Write the file, or tell the operator why not and try again later."""
    try:
        replace_file(file, content)
    except ConfigError as error:
        log.warning("%s", error.message)
        return False
    return True


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def usual_file(control_address: str) -> Path:
    """Where the list is unless the configuration says so: one for each supervisor of a user.

    Raises:
        ConfigError: Somebody else has made the folder.
    """
    folder = Path(tempfile.gettempdir()) / f"dvd-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigError(f"{folder} is not ours; set discovery_file to another place.")
    return folder / f"targets-{control_address.rpartition(':')[2]}.json"


def reachable(address: str) -> str:
    """An address that others can use, of one that a process listens at."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in UNSPECIFIED_HOSTS else address
