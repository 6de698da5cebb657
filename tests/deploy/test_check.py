"""`dvd check` as a person runs it: verdicts, exit codes, documents, configurations that load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.config import load_config
from tests.published_models import PublishedFormat, PublishedModel, published_model
from tests.published_tensors import PublishedTensor, published_tensors
from tests.sparse_checkpoint import write_published, write_tensors

SHIPPED = Path(__file__).parents[2] / "models" / "internvl3_5-tiny-flash"


def published(size: str, directory: Path) -> Path:
    """A published model without its weights; with a small tokenizer, which is as good."""
    write_published(published_model(size), PublishedFormat.ORIGINAL, directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(SHIPPED / name, directory)
    return directory


def check(exit_code: int, *arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result.output


def checked(directory: Path, *arguments: str) -> dict[str, Any]:
    """What the check writes as JSON."""
    file = directory / "check.json"
    check(0, directory, "--json", file, *arguments)
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_the_largest_model_is_sized_and_told(tmp_path: Path) -> None:
    shown = check(0, published("241B-A28B", tmp_path))
    assert f"{tmp_path} will load" in shown
    assert "37,540 tensors in 90 files" in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert "437.9 GiB" in lines["language on 1"]
    assert "does not fit" in lines["language on 4"]
    assert "tokens of 47 KiB" in lines["language on 8"]
    assert "to 1 language replica of 8 GPUs" in shown


def test_sizes_that_do_not_divide_say_why(tmp_path: Path) -> None:
    choices = checked(published("14B", tmp_path))["sizing"]["tensor_parallel"]
    assert choices[-1] == {"size": 16, "obstacle": "the model has 40 attention heads"}
    kv = [choice["kv_bytes_per_token"] for choice in choices[:-1]]
    assert kv == [2 * 40 * 8 * 128 * 2 // size for size in (1, 2, 4, 8)]


def test_a_smaller_card_wants_more_of_them(tmp_path: Path) -> None:
    directory = published("38B", tmp_path)
    on = {gib: checked(directory, "--gpu-memory-gib", gib)["sizing"] for gib in ("160", "24")}
    large, small = (on[gib]["suggested"] for gib in ("160", "24"))
    assert (large["tensor_parallel_size"], small["tensor_parallel_size"]) == (1, 4)
    assert small["vision_replicas"] == pytest.approx(
        4 * small["vision_gpus_per_language_gpu"], abs=0.5
    )


def test_the_traffic_decides_the_ratio(tmp_path: Path) -> None:
    directory = published("1B-Flash", tmp_path)
    usual = checked(directory)["sizing"]
    assert usual["traffic"]["compressed_share"] == 0.5
    long = checked(directory, "--output-tokens", "4000", "--tiles", "1")["sizing"]
    ratio = "vision_gpus_per_language_gpu"
    assert long["suggested"][ratio] < usual["suggested"][ratio] / 10
    saved = checked(directory, "--compressed-share", "1")["sizing"]
    assert saved["flops"]["language"] < usual["flops"]["language"]


def test_a_share_without_a_router_is_a_mistake(tmp_path: Path) -> None:
    assert "no resolution router" in check(
        2, published("1B", tmp_path), "--compressed-share", "0.5"
    )


@pytest.mark.parametrize("size", ["1B-Flash", "38B"])
def test_the_configuration_that_it_writes_is_one(tmp_path: Path, size: str) -> None:
    directory = published(size, tmp_path)
    file = tmp_path / "dvd.yaml"
    flags = ["--write-config", str(file), "--gpu-memory-utilization", "0.8"]
    found = checked(directory, *flags)["sizing"]["suggested"]
    config = load_config(file, {})
    assert config.model == str(directory)
    assert config.device == "cuda"
    assert config.language.service.gpu_memory_utilization == 0.8
    assert config.vision.placement.replicas == found["vision_replicas"]
    assert config.language.placement.replicas == found["language_replicas"]
    assert config.language.placement.tensor_parallel_size == found["tensor_parallel_size"]
    assert found["tensor_parallel_size"] == (2 if size == "38B" else 1)
    shown = CliRunner().invoke(app, ["serve", "--config", str(file), "--print-config"])
    assert json.loads(shown.stdout)["model"] == str(directory)


def test_what_fits_nowhere_has_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "dvd.yaml"
    directory = published("8B", tmp_path / "8B")
    shown = check(2, directory, "--gpu-memory-gib", "1", "--write-config", file)
    assert "does not fit on any number of such GPUs" in shown
    assert not file.exists()


def test_all_that_is_missing_and_extra_is_listed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    directory = published("1B", tmp_path)
    tensors = published_tensors(published_model("1B"), PublishedFormat.ORIGINAL)
    lost = {tensor.name for tensor in tensors if ".layers.7." in tensor.name}
    kept = [tensor for tensor in tensors if tensor.name not in lost]
    write_tensors(directory, [*kept, PublishedTensor("audio.weight", (3,))])
    file = tmp_path / "check.json"
    shown = check(1, directory, "--json", file)
    assert f"will not load: {len(lost) + 1} problems" in shown
    told = [line.split(maxsplit=1) for line in shown.splitlines() if line.startswith("  ")]
    assert sum(words[0] == "missing" for words in told) == len(lost)
    document = json.loads(file.read_text())
    assert {each["tensor"] for each in document["problems"]} == lost | {"audio.weight"}
    assert document["sizing"] is not None
    assert not document["will_load"]


def test_a_model_of_mxfp4_blocks_is_refused(tmp_path: Path) -> None:
    model = published_model("GPT-OSS-20B-A4B-Preview")
    write_published(model, PublishedFormat.ORIGINAL, tmp_path)
    write_tensors(tmp_path, [part for each in _tensors(model) for part in _as_blocks(each)])
    shown = check(1, tmp_path)
    assert "gate_up_proj_blocks in model-" in shown
    assert "has unsupported type U8" in shown


def _tensors(model: PublishedModel) -> tuple[PublishedTensor, ...]:
    return published_tensors(model, PublishedFormat.ORIGINAL)


def _as_blocks(tensor: PublishedTensor) -> list[PublishedTensor]:
    """Experts as the language model's own publisher stores them: two numbers in a byte, scales."""
    if not tensor.name.endswith((".gate_up_proj", ".down_proj")):
        return [tensor]
    experts, columns, rows = tensor.shape
    blocks = (experts, rows, columns // 32)
    return [
        PublishedTensor(f"{tensor.name}_blocks", (*blocks, 16), "U8"),
        PublishedTensor(f"{tensor.name}_scales", blocks, "U8"),
    ]


@pytest.mark.parametrize("model", ["./gone", "gone", "owner/not-in-the-cache"])
def test_what_is_not_there_is_told_without_a_network(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = check(1, model)
    assert model in shown
