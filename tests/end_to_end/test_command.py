"""The `dvd` command as a person runs it, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

DVD = [str(Path(sys.executable).parent / "dvd")]
START_SECONDS = 120
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*DVD, *arguments],
        capture_output=True, text=True, timeout=START_SECONDS, cwd=ROOT, check=False,
    )  # fmt: skip


class Serving:
    """A `dvd serve` that answers."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address


@pytest.fixture(scope="module")
def serving(flash_model_dir: Path) -> Iterator[Serving]:
    command = [*DVD, "serve", str(flash_model_dir), "--grpc-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    for line in process.stderr:
        if " serving " in line:
            yield Serving(process, line.split()[-1])
            break
    if process.poll() is None:
        process.kill()
        process.wait()


def test_ask_streams_an_answer_and_shows_where_the_time_went(serving: Serving) -> None:
    picture = "examples/pictures/number_plate.png"
    shown = run("ask", "--server", serving.address, "--max-tokens", "4", picture, "What is this?")
    assert shown.returncode == 0, shown.stderr
    assert "3 x 2 tiles + thumbnail" in shown.stdout
    assert "visual tokens 112 →" in shown.stdout
    assert "ViT" in shown.stdout


def test_ask_names_what_is_wrong(serving: Serving) -> None:
    refused = run("ask", "--server", serving.address, "no_such.png", "What is this?")
    assert refused.returncode == 2
    assert "no_such.png is no picture file" in refused.stderr


def test_sigterm_ends_everything_in_order(serving: Serving) -> None:
    serving.process.send_signal(signal.SIGTERM)
    _, log = serving.process.communicate(timeout=60)
    assert serving.process.returncode == 0
    assert "stopping" in log
    assert "Traceback" not in log
    assert not children_of(serving.process.pid)
    refused = run("ask", "--server", serving.address, "hello")
    assert refused.returncode == 1
    assert "dvd serve" in refused.stderr


def children_of(pid: int) -> list[str]:
    """Commands of processes whose parent is gone or is the given one, by /proc."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid or (int(fields[3]) == os.getsid(0) and int(fields[1]) == pid):
            found.append(status.parent.name)
    return found


def test_the_demo_writes_every_answer(flash_model_dir: Path, tmp_path: Path) -> None:
    written = tmp_path / "demo.json"
    shown = run("demo", str(flash_model_dir), "--json", str(written))
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(written.read_text())
    assert len(rows) == 9
    for row in rows:
        assert set(row) == {"image", "question", "expected", "answer", "usage", "timings"}
        assert row["usage"]["visual_tokens"] <= row["usage"]["visual_tokens_before_resolution"]
        assert row["timings"]["vit_seconds"] >= 0
    assert "random weights" in shown.stdout


def test_a_wrong_key_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "dvd.yaml"
    config.write_text("router:\n  grcp_port: 1\n")
    refused = run("serve", "--config", str(config))
    assert refused.returncode == 2
    assert "did you mean router.grpc_port" in " ".join(refused.stderr.split())


def test_the_version_is_shown() -> None:
    assert run("version").stdout.startswith("dvd ")
