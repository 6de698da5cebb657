"""Does a load generator that others wrote get through: aiperf, with pictures, over HTTP.

    make outside-bench

Starts a cluster on this machine, has aiperf drive the OpenAI-compatible door to the end, stops the
cluster, and fails unless every request was answered. aiperf pins other versions than this project,
so it lives in an environment of its own, and knows nothing of us but an address.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from common.log import set_up_logging
from common.result import Goal, Result
from deploy.config import DEFAULT_MODEL, load_config
from deploy.ray_environment import prepare_ray

REPORT = "profile_export_aiperf.json"
SHOWN = (
    "request_throughput",
    "output_token_throughput",
    "time_to_first_token",
    "inter_token_latency",
    "request_latency",
    "image_throughput",
)
GOAL = "requests of aiperf answered, share"
COLUMNS = ("unit", "avg", "p50", "p99")


async def drive(aiperf: Path, http_address: str, model: str, arguments: argparse.Namespace) -> int:
    """Run aiperf to its end.

    Args:
        aiperf: Its program.
        http_address: `host:port` of the HTTP door.
        model: Name of the served model.
        arguments: Of the command line.

    Returns:
        Its exit status.
    """
    side = str(arguments.side)
    process = await asyncio.create_subprocess_exec(
        *(aiperf, "profile", "--model", model, "--url", f"http://{http_address}"),
        *("--endpoint-type", "chat", "--streaming", "--tokenizer", DEFAULT_MODEL),
        *("--request-count", str(arguments.requests), "--concurrency", str(arguments.concurrency)),
        *("--synthetic-input-tokens-mean", "24", "--output-tokens-mean", "16"),
        *("--image-width-mean", side, "--image-height-mean", side, "--image-format", "jpeg"),
        *("--extra-inputs", "ignore_eos:true", "--use-server-token-count", "--random-seed", "1"),
        *("--ui", "none", "--no-gpu-telemetry", "--no-server-metrics"),
        *("--artifact-dir", str(arguments.artifacts)),
    )
    return await process.wait()


async def measure(arguments: argparse.Namespace, result: Result) -> None:
    """Start a cluster, have it driven, stop it; fill in rows and the goal."""
    settings = load_config(None, {"router.grpc_port": 0, "router.http_port": 0})
    prepare_ray(settings.ray)
    from deploy.supervisor import Supervisor  # noqa: PLC0415  # Ray and torch take seconds

    supervisor = Supervisor(settings)
    try:
        ready = await supervisor.start()
        address = ready.router.http_address
        status = await drive(arguments.aiperf, address, ready.model_name, arguments)
    finally:
        await supervisor.stop()
    if status:
        reason = f"aiperf ended with status {status}"
        result.goals.append(Goal(GOAL, None, 1.0, "higher", reason))
        return
    report = json.loads((arguments.artifacts / REPORT).read_text(encoding="utf-8"))
    answered = count_of(report, "request_count")
    failed = count_of(report, "error_request_count")
    result.rows += [
        {"measured": name} | {key: report.get(name, {}).get(key) for key in COLUMNS}
        for name in SHOWN
    ]
    share = None if failed else answered / arguments.requests
    reason = f"{failed:g} requests failed" if failed else None
    result.goals.append(Goal(GOAL, share, 1.0, "higher", reason))


def count_of(report: dict[str, Any], name: str) -> float:
    """A count of aiperf's report; what it has none of it leaves out."""
    return float((report.get(name) or {"avg": 0})["avg"])


def main() -> None:
    """Measure, print, write; fail unless every request was answered."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--aiperf", type=Path, default=Path("build/outside/bin/aiperf"))
    parser.add_argument("--artifacts", type=Path, default=Path("build/outside/artifacts"))
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--side", type=int, default=224, help="of each picture, in pixels")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    set_up_logging("dvd", "WARNING")
    result = Result()
    asyncio.run(measure(arguments, result))
    result.report(arguments.json)
    if not all(goal.is_met for goal in result.goals):
        sys.exit(1)


if __name__ == "__main__":
    main()
