"""Ways to break a checkpoint of two shards, each with what must be said of it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
QUERY = "language_model.model.layers.1.self_attn.q_proj.weight"
GATE = "gating.block4.5.weight"


@dataclass(frozen=True)
class Breakage:
    """One fault.

    Attributes:
        kind: That the check gives it.
        words: That the sentence must hold, all of them.
        apply: Breaks a directory.
    """

    kind: str
    words: tuple[str, ...]
    apply: Callable[[Path], object]


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change a JSON file."""

    def apply(directory: Path) -> None:
        document = json.loads((directory / name).read_text())
        change(document)
        (directory / name).write_text(json.dumps(document))

    return apply


def holding(directory: Path, tensor: str) -> Path:
    """The shard that holds a tensor."""
    placed = json.loads((directory / INDEX).read_text())["weight_map"]
    return directory / str(placed[tensor])


def with_tensor(name: str, tensor: torch.Tensor) -> Callable[[Path], None]:
    """Put another tensor in the place of one."""

    def apply(directory: Path) -> None:
        file = holding(directory, name)
        save_file(load_file(file) | {name: tensor}, file)

    return apply


def truncate(directory: Path) -> None:
    """Cut the last bytes of a shard."""
    file = directory / SECOND
    os.truncate(file, file.stat().st_size - 10)


def swap(directory: Path) -> None:
    """Have the index place a tensor in the other shard."""
    other = SECOND if holding(directory, QUERY).name == FIRST else FIRST
    edited(INDEX, lambda index: index["weight_map"].update({QUERY: other}))(directory)


def pickle_only(directory: Path) -> None:
    """Leave nothing but pickled weights."""
    for file in directory.glob("*.safetensors*"):
        file.unlink()
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04N.")


def twice(directory: Path) -> None:
    """Name a key of the configuration a second time."""
    text = (directory / "config.json").read_text().rstrip()
    (directory / "config.json").write_text(text[:-1] + ', "model_type": "internvl"}')


NEEDS_CODE = {"model_type": "internvl_next", "auto_map": {"AutoModel": "modeling_next.Next"}}
BREAKAGES = {
    "truncated shard": Breakage("file", (SECOND, "is truncated", "ends outside it"), truncate),
    "lost shard": Breakage(
        "file", (FIRST, "which is not in"), lambda directory: (directory / FIRST).unlink()
    ),
    "wrong shape": Breakage(
        "shape", (QUERY, ".safetensors", "[3, 5]"), with_tensor(QUERY, torch.zeros(3, 5))
    ),
    "wrong dtype": Breakage(
        "dtype", (GATE, ".safetensors", "I32"), with_tensor(GATE, torch.zeros(32).int())
    ),
    "missing index entry": Breakage(
        "index",
        (QUERY, ".safetensors", f"but not in {INDEX}"),
        edited(INDEX, lambda index: index["weight_map"].pop(QUERY)),
    ),
    "entry of another file": Breakage("index", (INDEX, QUERY, "but it is in"), swap),
    "entry of nothing": Breakage(
        "index",
        (INDEX, "lost.weight", FIRST, "which does not hold it"),
        edited(INDEX, lambda index: index["weight_map"].update({"lost.weight": FIRST})),
    ),
    "pickled": Breakage("file", ("pytorch_model.bin", "can run code"), pickle_only),
    "needs code": Breakage(
        "config",
        ("internvl_next", "modeling_next.Next", "never run"),
        edited("config.json", lambda config: config.update(NEEDS_CODE)),
    ),
    "language needs code": Breakage(
        "config",
        ("'internlm2'", "supported are"),
        edited("config.json", lambda config: config["llm_config"].update(model_type="internlm2")),
    ),
    "duplicate key": Breakage("config", ("config.json", "model_type twice"), twice),
    "quantised": Breakage(
        "config",
        ("'mxfp4'",),
        edited(
            "config.json",
            lambda config: config["llm_config"].update(
                quantization_config={"quant_method": "mxfp4"}
            ),
        ),
    ),
    "no tokenizer": Breakage(
        "tokenizer",
        ("neither tokenizer.json nor",),
        lambda directory: (directory / "tokenizer.json").unlink(),
    ),
}
