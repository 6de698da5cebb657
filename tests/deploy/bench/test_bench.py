"""A whole run: what is shown, written and drawn, of a scripted door and of a real cluster."""

import asyncio
import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from common.errors import ConfigError, InvalidRequestError, OverloadedError, UnavailableError
from common.types import Role
from deploy.bench.bench import Consoles, run_bench
from deploy.bench.calibration import measure_vocabulary
from deploy.bench.door import Door, Question, Said
from deploy.bench.grpc_door import GrpcDoor
from deploy.bench.mix import Mix
from deploy.bench.options import BenchOptions
from deploy.bench.summary import Summary
from deploy.config import DEFAULT_MODEL
from tests.deploy.bench.doors import ScriptedDoor
from tests.local_cluster import local_cluster

SHIPPED = Path(DEFAULT_MODEL)
SMALL = BenchOptions(num_prompts=6, mix=Mix(input_tokens=5, output_tokens=4), resolutions="32x32")


async def run(
    options: BenchOptions, door: Door, stopping: asyncio.Event | None = None
) -> tuple[str, Summary]:
    """What is shown and what it came to."""
    out = Console(file=io.StringIO(), width=200, color_system=None)
    progress = Console(file=io.StringIO(), color_system=None)
    summary = await run_bench(options, door, Consoles(out, progress), stopping or asyncio.Event())
    assert progress.file.getvalue() == ""  # type: ignore[attr-defined]  # no terminal, no bar
    return out.file.getvalue(), summary  # type: ignore[attr-defined]


def value_of(shown: str, name: str) -> str:
    (line,) = (line for line in shown.splitlines() if line.startswith(name))
    return line.split()[-1]


async def test_the_block_shows_what_was_done() -> None:
    shown, _ = await run(replace(SMALL, max_concurrency=2, goodput=("ttft:5000",)), ScriptedDoor())
    lines = shown.splitlines()
    assert lines[0] == "============ Serving Benchmark Result ============"
    assert value_of(shown, "Successful requests:") == "6"
    assert value_of(shown, "Failed requests:") == "0"
    assert value_of(shown, "Total generated tokens:") == "24"
    assert value_of(shown, "Total input tokens:") == "30"
    assert value_of(shown, "Maximum request concurrency:") == "2"
    assert value_of(shown, "Pictures:") == "6"
    for name in ("Mean TTFT (ms):", "P99 TPOT (ms):", "Median ITL (ms):", "Mean E2EL (ms):",
                 "Request goodput (req/s):", "Output token throughput (tok/s):"):  # fmt: skip
        assert float(value_of(shown, name)) >= 0


async def test_warm_up_does_not_count() -> None:
    door = ScriptedDoor()
    _, summary = await run(replace(SMALL, num_warmups=3), door)
    assert summary.completed == 6
    load = [question for question in door.asked if question.messages[0].pictures]
    assert len(load) == 9
    assert len({question.messages[0].pictures for question in load}) == 9


async def test_every_key_of_vllm_is_written(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    options = replace(SMALL, json_file=file, percentiles="50,99", request_rate=1000.0)
    await run(options, ScriptedDoor())
    written = json.loads(file.read_text())
    times = {
        f"{kind}_{name}_ms"
        for kind in ("mean", "median", "std", "p50", "p99")
        for name in ("ttft", "tpot", "itl", "e2el")
    }
    expected = times | {
        *("date", "backend", "model_id", "num_prompts", "request_rate", "burstiness"),
        *("max_concurrency", "duration", "completed", "failed", "total_input_tokens"),
        *("total_output_tokens", "request_throughput", "request_goodput", "output_throughput"),
        *("total_token_throughput", "max_output_tokens_per_s", "max_concurrent_requests"),
    }
    assert expected <= set(written)
    assert (written["completed"], written["failed"], written["model_id"]) == (6, 0, "scripted")
    assert written["request_throughput"] == pytest.approx(6 / written["duration"])
    assert written["output_throughput"] == pytest.approx(24 / written["duration"])
    assert written["request_goodput"] is None
    assert "ttfts" not in written


async def test_requests_are_written_one_by_one_where_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    door = ScriptedDoor()
    await run(replace(SMALL, json_file=file, save_detailed=True), door)
    written = json.loads(file.read_text())
    assert written["output_lens"] == [4] * 6
    assert written["input_lens"] == [5] * 6
    assert [len(gaps) for gaps in written["itls"]] == [3] * 6
    assert written["generated_texts"] == ["w0 w1 w2 w3 "] * 6
    assert written["errors"] == [""] * 6
    assert min(written["start_times"]) == 0
    assert all(seconds > 0 for seconds in written["ttfts"])


async def test_failures_are_told_by_code(tmp_path: Path) -> None:
    door = ScriptedDoor()
    door.fails = [None] * 24 + [OverloadedError("Full."), InvalidRequestError("No.")]
    door.num_retries = 3
    file = tmp_path / "result.json"
    shown, summary = await run(replace(SMALL, json_file=file), door)
    assert (summary.completed, summary.failed) == (4, 2)
    assert value_of(shown, "  RESOURCE_EXHAUSTED:") == "1"
    codes = json.loads(file.read_text())["errors_by_code"]
    assert codes == {"RESOURCE_EXHAUSTED": 1, "INVALID_ARGUMENT": 1}


async def test_when_every_request_fails_so_does_the_command() -> None:
    door = ScriptedDoor()
    door.fails = [None] * 24 + [OverloadedError("Full.")] * 6
    with pytest.raises(UnavailableError, match="Every request failed: RESOURCE_EXHAUSTED"):
        await run(SMALL, door)


async def test_stopped_early_it_tells_what_there_is() -> None:
    door, stopping = ScriptedDoor(), asyncio.Event()
    running = asyncio.create_task(run(replace(SMALL, max_concurrency=3), door, stopping))
    # Words are counted by answers of one token, which are not held.
    door.holds = asyncio.Event()
    await door.holding.wait()
    stopping.set()
    shown, summary = await running
    assert (summary.completed, summary.cut_off) == (0, 3)
    assert value_of(shown, "Cut off requests:") == "3"


async def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "load.png"
    await run(replace(SMALL, plot=file), ScriptedDoor())
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.width >= 1000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"request_rate": 0.0}, "--request-rate is more than 0"),
        ({"request_rate": float("nan")}, "--request-rate is more than 0"),
        ({"burstiness": -1.0}, "--burstiness is more than 0"),
        ({"timeout_seconds": 0.0}, "--timeout-seconds is more than 0"),
        ({"goodput": ("itl:5",)}, "--goodput takes"),
        ({"percentiles": "x"}, "--metric-percentiles takes"),
        ({"resolutions": "big"}, "--image-resolution takes"),
        ({"plot": Path("load.jpg")}, "--plot writes PNG"),
        ({"json_file": Path("no_such_folder/result.json")}, "there is no such folder"),
        ({"image_dir": Path("no_such_folder")}, "--image-dir: there is no picture"),
    ],
)
async def test_a_mistake_is_told_before_anything_is_asked(
    changes: dict[str, Any], words: str
) -> None:
    door = ScriptedDoor()
    with pytest.raises(ConfigError, match=words):
        await run(replace(SMALL, **changes), door)
    assert door.asked == []


async def test_a_real_cluster_answers_a_mixed_load(tmp_path: Path) -> None:
    options = BenchOptions(
        num_prompts=12,
        num_warmups=1,
        request_rate=200.0,
        mix=Mix(input_tokens=20, output_tokens=5, num_turns=2, num_pictures=2, text_share=0.3,
                repeat_share=0.4),
        resolutions="224x112:2,112x112:1",
        ignore_eos=True,
        json_file=tmp_path / "result.json",
        plot=tmp_path / "load.png",
    )  # fmt: skip
    async with local_cluster(SHIPPED) as cluster:
        door = GrpcDoor(cluster.address)
        shown, summary = await run(options, door)
        await door.close()
    assert (summary.completed, summary.failed, summary.retries) == (24, 0, 0)
    assert summary.tokens.output == 24 * 5
    assert summary.num_pictures > summary.num_repeated > 0
    assert 0 < summary.tokens.visual < summary.tokens.visual_before
    assert 0 < summary.tokens.compressed_tiles < summary.tokens.tiles
    assert summary.stages is not None
    assert summary.stages.vit > 0 < summary.stages.decode
    assert float(value_of(shown, "ViT (ms):")) > 0
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["mean_vit_ms"] == pytest.approx(1000 * summary.stages.vit)
    assert written["total_tiles"] == summary.tokens.tiles


async def test_texts_have_the_tokens_that_the_server_counts() -> None:
    async with local_cluster(SHIPPED) as cluster:
        door = GrpcDoor(cluster.address)
        vocabulary = await measure_vocabulary(door)
        counted = []
        for num_tokens in (10, 50):
            text = vocabulary.text(num_tokens, random.Random(1))
            question = Question((Said(Role.USER, text),), max_tokens=1)
            events = [event async for event in door.ask(question)]
            counted.append(events[-1].use.text_tokens)  # type: ignore[union-attr]
        await door.close()
    assert counted[1] - counted[0] == pytest.approx(40, abs=3)
