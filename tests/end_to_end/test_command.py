"""The `dvd` command as a person runs it, in processes of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from openai import AuthenticationError, OpenAI

from tests.deploy.broken_checkpoints import edited

pytestmark = pytest.mark.cluster

DVD = [str(Path(sys.executable).parent / "dvd")]
START_SECONDS = 120
ROOT = Path(__file__).parents[2]
KEY = "a-key-of-this-test"
ENVIRON = {**os.environ, "DVD_API_KEY": KEY}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*DVD, *arguments],
        capture_output=True, text=True, timeout=START_SECONDS, cwd=ROOT, check=False, env=ENVIRON,
    )  # fmt: skip


class Serving:
    """A `dvd serve` that answers.

    Attributes:
        process: Of the command.
        address: Of its gRPC door.
        base_url: Where OpenAI clients find it.
        log: What it has said so far.
    """

    def __init__(self, process: subprocess.Popen[str], log: list[str]) -> None:
        self.process = process
        self.address = told(log[-1])
        (self.base_url,) = (told(line) for line in log if "OpenAI clients" in line)
        self.log = log


def told(line: str) -> str:
    """The last word of what a line of the log says."""
    return str(json.loads(line)["message"]).split()[-1]


@pytest.fixture(scope="module")
def serving(flash_model_dir: Path) -> Iterator[Serving]:
    command = [*DVD, "serve", str(flash_model_dir), "--grpc-port", "0", "--json-logs"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRON)
    assert process.stderr is not None
    log = []
    for line in process.stderr:
        log.append(line)
        if '"serving ' in line:
            yield Serving(process, log)
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


def test_openai_clients_find_it_where_the_log_says(serving: Serving) -> None:
    with OpenAI(base_url=serving.base_url, api_key=KEY) as client:
        (model,) = client.models.list().data
        said: Any = [{"role": "user", "content": "Hello?"}]
        answer = client.chat.completions.create(model=model.id, messages=said, max_tokens=2)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 2


def test_who_has_no_key_is_refused_at_both_doors(serving: Serving, tmp_path: Path) -> None:
    with (
        OpenAI(base_url=serving.base_url, api_key="another") as client,
        pytest.raises(AuthenticationError),
    ):
        client.models.list()
    other = tmp_path / "key"
    other.write_text("another\n")
    refused = run("ask", "--server", serving.address, "--api-key-file", str(other), "hello")
    assert refused.returncode == 1
    assert "API key" in " ".join(refused.stderr.split())


def test_the_key_is_in_no_log_and_no_argument(serving: Serving) -> None:
    assert KEY not in "".join(serving.log)
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            assert KEY.encode() not in arguments.read_bytes()


def test_sigterm_ends_everything_in_order(serving: Serving) -> None:
    serving.process.send_signal(signal.SIGTERM)
    _, log = serving.process.communicate(timeout=60)
    assert serving.process.returncode == 0
    assert "stopping" in log
    assert "Traceback" not in log
    assert KEY not in log
    lines = [json.loads(line) for line in [*serving.log, *log.splitlines()]]
    assert {line["process"] for line in lines} >= {"dvd", "vision-0", "language-0"}
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


def test_a_broken_model_is_refused_in_one_sentence(flash_model_dir: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(flash_model_dir, tmp_path / "broken")
    edited("config.json", lambda config: config["llm_config"].update(head_dim=8))(broken)
    refused = run("serve", str(broken), "--grpc-port", "0")
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert "q_proj.weight in model.safetensors has shape [" in line
    assert line.endswith("more: dvd check lists them all.")
    assert not refused.stdout


def test_the_version_is_shown() -> None:
    assert run("version").stdout.startswith("dvd ")
