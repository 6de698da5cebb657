"""Write a checkpoint directory: weights, configuration, tokenizer and chat template.

Takes finished tensors under their original names, wherever they come from.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from common.model_config import CheckpointLayout
from training.chat_template import chat_template
from training.model_documents import (
    Document,
    ModelFacts,
    generation_config,
    image_processor_config,
    original_config,
    processor_config,
    transformers_config,
)
from training.transformers_layout import to_transformers_layout

WEIGHTS_FILE = "model.safetensors"
METADATA = {"format": "pt"}  # transformers refuses files that do not name their framework


def write_documents(directory: Path, facts: ModelFacts, layout: CheckpointLayout) -> None:
    """Write every file but weights and tokenizer."""
    original = layout is CheckpointLayout.ORIGINAL
    documents = {
        "config.json": original_config(facts) if original else transformers_config(facts),
        "generation_config.json": generation_config(facts.token_ids),
        "preprocessor_config.json": image_processor_config(facts),
        "processor_config.json": processor_config(facts.shape),
    }
    for name, document in documents.items():
        _write_json(directory / name, document)
    template = chat_template(layout)
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")


def write_weights(
    directory: Path,
    tensors: Mapping[str, torch.Tensor],
    layout: CheckpointLayout,
    num_shards: int,
) -> None:
    """Write the tensors as one file, or as several with an index.

    Args:
        directory: Where to write.
        tensors: By their original names, in the element type to store.
        layout: Names to store them under.
        num_shards: Files of about equal size.
    """
    if layout is CheckpointLayout.TRANSFORMERS:
        tensors = to_transformers_layout(tensors)
    if num_shards == 1:
        save_file(dict(tensors), directory / WEIGHTS_FILE, METADATA)
        return
    weight_map: dict[str, str] = {}
    for index, shard in enumerate(_shards(tensors, num_shards), start=1):
        file = f"model-{index:05d}-of-{num_shards:05d}.safetensors"
        save_file(shard, directory / file, METADATA)
        weight_map |= dict.fromkeys(shard, file)
    index_document = {
        "metadata": {"total_size": _num_bytes(tensors)},
        "weight_map": weight_map,
    }
    _write_json(directory / "model.safetensors.index.json", index_document)


def _shards(tensors: Mapping[str, torch.Tensor], num_shards: int) -> list[dict[str, torch.Tensor]]:
    shards: list[dict[str, torch.Tensor]] = [{} for _ in range(num_shards)]
    num_bytes, bytes_before = _num_bytes(tensors), 0
    for name, tensor in sorted(tensors.items()):
        shards[bytes_before * num_shards // num_bytes][name] = tensor
        bytes_before += tensor.nbytes
    return shards


def _num_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _write_json(path: Path, document: Document) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
