"""A cluster of `dvd serve` and a Prometheus that scrapes it, each a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from deploy.grafana.drawing.prometheus import Prometheus

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy/prometheus/rules"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
BINARIES = ROOT / "build/prometheus/usr/bin"
HOST = "127.0.0.1"
SCRAPE_SECONDS = 2
STOP_SECONDS = 180.0
LOOK_SECONDS = 0.5
NUM_REPLICAS = 2
# Every replica, the router, the supervisor.
NUM_PROCESSES = 2 * NUM_REPLICAS + 2
# Fewer than the clients of the load, so that some are refused.
MAX_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class Observed:
    """What runs.

    Attributes:
        router: `host:port` of the gRPC door.
        prometheus: Who scrapes every process.
    """

    router: str
    prometheus: Prometheus


@contextmanager
def observed_cluster(folder: Path) -> Iterator[Observed]:
    """Run both for the length of the context.

    Args:
        folder: For what they write.

    Raises:
        RuntimeError: One of them does not start.
    """
    targets = folder / "targets.json"
    with _cluster(targets, folder / "serve.log") as router, _prometheus(folder, targets) as address:
        yield Observed(router, Prometheus(address))


@contextmanager
def _cluster(targets: Path, log: Path) -> Iterator[str]:
    settings = {
        "discovery_file": targets,
        "router.http_port": 0,
        "router.max_requests": MAX_REQUESTS,
        "drain_seconds": 5,
    }
    command = [Path(sys.executable).parent / "dvd", "serve", "--grpc-port", "0"]
    for role in ("vision", "language"):
        command += [f"--{role}-replicas", str(NUM_REPLICAS)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    # Into a file and not a pipe, which would fill up while nobody reads it.
    with (
        log.open("w", encoding="utf-8") as written,
        subprocess.Popen(command, stderr=written, cwd=ROOT) as process,
    ):
        try:
            yield _door(process, log)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _door(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the command says where it serves."""
    while process.poll() is None:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if " serving " in line:
                return line.split()[-1]
        time.sleep(LOOK_SECONDS)
    raise RuntimeError(f"dvd serve did not start:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def _prometheus(folder: Path, targets: Path) -> Iterator[str]:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["global"] = {
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "evaluation_interval": f"{SCRAPE_SECONDS}s",
    }
    config["rule_files"] = [str(RULES / "*.yml")]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["dvd"]["file_sd_configs"] = [{"files": [str(targets)]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"{HOST}:{_free_port()}"
    command = [
        BINARIES / "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    with (
        log.open("w", encoding="utf-8") as written,
        subprocess.Popen(command, stderr=written, stdout=written) as process,
    ):
        try:
            yield address
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port
