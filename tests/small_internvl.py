"""Small InternVL models of every family, by transformers' own classes, saved in every format.

transformers itself writes the weights, in the names it has written since version 4; the other
formats are those, renamed by the published converter's rules and not by our loaders'.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLConfig, InternVLForConditionalGeneration

from common.model_config import CheckpointLayout
from tests.language_service.language_models import build_language_model
from tests.published_models import PublishedFormat
from tests.published_tensors import TRANSFORMERS_PROJECTOR, TRANSFORMERS_VISION
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

VISIONS = {
    "300M": MICRO.vision,
    # An odd number of heads, as the 6B one has.
    "6B": replace(
        MICRO.vision,
        hidden_size=48,
        num_heads=3,
        intermediate_size=192,
        qkv_bias=False,
        qk_norm=True,
        norm_type="rms_norm",
    ),
}
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class SmallModel:
    """One model in all formats.

    Attributes:
        reference: Its directory as transformers has saved it.
        original: A directory in the original layout, the weights of another model in it.
        kind: Of its language model.
    """

    reference: Path
    original: Path
    kind: str

    def in_format(self, published_format: PublishedFormat, num_shards: int, target: Path) -> Path:
        """Write it in a format; weights in one file or in several with an index."""
        is_original = published_format is PublishedFormat.ORIGINAL
        source = self.original if is_original else self.reference
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*"))
        saved = saved_tensors(self.reference)
        if is_original:
            _with_language_model(target / "config.json", self.reference)
        save_shards(target, renamed(saved, published_format), num_shards)
        return target


def build_small_model(kind: str, vision: str, directory: Path) -> SmallModel:
    """Build one, random weights, the same every time.

    Args:
        kind: Of the language model: a key of `language_models.CONFIGS`.
        vision: A key of `VISIONS`.
        directory: Where both directories go.
    """
    shape = replace(MICRO, vision=VISIONS[vision])
    plain, original = directory / "plain", directory / "original"
    options = CheckpointOptions(shape=shape, flash=False, dtype="float32")
    build_checkpoint(original, options)
    build_checkpoint(plain, replace(options, layout=CheckpointLayout.TRANSFORMERS))
    language = build_language_model(kind, "eager", shape.text.vocab_size)
    config = InternVLConfig.from_pretrained(plain)
    config.text_config = language.config
    model = InternVLForConditionalGeneration(config).eval()
    seen = InternVLForConditionalGeneration.from_pretrained(plain, dtype=torch.float32).model
    model.model.vision_tower.load_state_dict(seen.vision_tower.state_dict())
    projector = model.model.multi_modal_projector
    projector.load_state_dict(seen.multi_modal_projector.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    reference = directory / "reference"
    model.save_pretrained(reference)
    for file in plain.iterdir():  # tokenizer, processor and where answers end
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, reference)
    return SmallModel(reference, original, kind)


def renamed(tensors: Tensors, published_format: PublishedFormat) -> Tensors:
    """Tensors as transformers saves them, under the names of a format."""
    if published_format is PublishedFormat.TRANSFORMERS_4:
        return tensors
    if published_format is PublishedFormat.ORIGINAL:
        return dict(_original(tensors))
    return {_prefixed(name, published_format): tensor for name, tensor in tensors.items()}


def saved_tensors(directory: Path) -> Tensors:
    """All tensors of a directory."""
    files = sorted(directory.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def save_shards(directory: Path, tensors: Tensors, num_shards: int) -> None:
    """Write tensors to so many files, by turns, and their index."""
    if num_shards == 1:
        save_file(tensors, directory / "model.safetensors")
        return
    files = [f"model-{n + 1:05d}-of-{num_shards:05d}.safetensors" for n in range(num_shards)]
    placed = {name: files[index % num_shards] for index, name in enumerate(tensors)}
    for file in files:
        held = {name: tensor for name, tensor in tensors.items() if placed[name] == file}
        save_file(held, directory / file)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def _prefixed(name: str, published_format: PublishedFormat) -> str:
    if name.startswith("language_model.lm_head."):
        return name.removeprefix("language_model.")
    name = re.sub(r"^language_model\.model\.", "language_model.", name)
    if published_format is PublishedFormat.TRANSFORMERS_ATTN:
        name = re.sub(r"\.attention\.([qk]_norm)\.", r".attn.\1.", name)
    return f"model.{name}"


def _original(tensors: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    positions = {theirs: ours for ours, theirs in TRANSFORMERS_PROJECTOR.items()}
    fused: dict[str, Tensors] = defaultdict(dict)
    for name, tensor in tensors.items():
        if name.startswith("multi_modal_projector."):
            _, layer, kind = name.split(".")
            yield f"mlp1.{positions[layer]}.{kind}", tensor
        elif name.startswith("language_model."):
            yield name, tensor
        else:
            part = re.search(r"\.attention\.([qkv])_proj\.", name)
            if part:
                whole = _original_vision(name.replace(part[0], ".attn.qkv."))
                fused[whole][part[1]] = tensor
            else:
                yield _original_vision(name), tensor
    for name, parts in fused.items():
        yield name, torch.cat([parts[letter] for letter in "qkv"])


def _original_vision(name: str) -> str:
    for original, other in reversed(TRANSFORMERS_VISION):
        name = name.replace(other, original)
    return name.replace(".attention.", ".attn.")


def _with_language_model(config_file: Path, reference: Path) -> None:
    config = json.loads(config_file.read_text())
    config["llm_config"] = json.loads((reference / "config.json").read_text())["text_config"]
    config_file.write_text(json.dumps(config))
