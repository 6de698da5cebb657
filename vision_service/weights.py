"""Load the vision half of a checkpoint, and nothing else of it.

Three namings are read: the original one, the one that transformers 5 writes, and the un-prefixed
one of older conversions. The modules of `VisionModel` are named as the original, but for its
vision transformer, which is named as in transformers; so either way some names are mapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoint import NO_PROGRESS, load_tensors
from common.checkpoint_problem import CheckpointProblem, refuse
from common.loading_progress import LoadingProgress
from common.model_config import CheckpointLayout, ModelConfig
from common.model_files import list_tensors
from common.role_check import RoleCheck, check_role, foreign_problem
from common.tensor_header import TensorEntry
from common.tensor_source import TensorSource
from vision_service.vision_model import VisionModel

ORIGINAL_VISION_PREFIXES = ("vision_model.", "mlp1.", "mlp2.", "pooling_before_gating.", "gating.")

# Inside the vision transformer: transformers' spelling, the original's spelling. Applied in this
# order, in which `attention.projection_layer` must come before `attention.`.
ORIGINAL_SPELLINGS = (
    ("embeddings.cls_token", "embeddings.class_embedding"),
    ("embeddings.position_embeddings", "embeddings.position_embedding"),
    ("embeddings.patch_embeddings.projection", "embeddings.patch_embedding"),
    ("encoder.layer.", "encoder.layers."),
    ("attention.projection_layer", "attn.proj"),
    ("attention.", "attn."),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("lambda_1", "ls1"),
    ("lambda_2", "ls2"),
)
FUSED_PARTS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}

PROJECTOR_SPELLINGS = {"0": "layer_norm", "1": "linear_1", "3": "linear_2"}


@dataclass(frozen=True, slots=True)
class TensorNaming:
    """How one kind of checkpoint names the tensors of both halves.

    Attributes:
        vision: Prefixes of the vision half.
        language: Prefixes of the language half.
        is_original: Whether it is the original spelling.
        stem: What precedes `vision_tower` in transformers' spelling.
        norm_block: Block of the norms of queries and keys in transformers' spelling; published
            conversions of the 6B vision transformer left them in `attn`.
    """

    vision: tuple[str, ...]
    language: tuple[str, ...]
    is_original: bool
    stem: str = ""
    norm_block: str = "attention"

    def source(self, parameter: str) -> TensorSource:
        """Say which tensor fills a parameter of `VisionModel`."""
        module, _, rest = parameter.partition(".")
        if module == "vision_model":
            if self.is_original:
                return _original_source(rest)
            for norm in ("q_norm", "k_norm"):
                rest = rest.replace(f".attention.{norm}.", f".{self.norm_block}.{norm}.")
            return TensorSource(f"{self.stem}vision_tower.{rest}")
        if module == "mlp1" and not self.is_original:
            position, _, kind = rest.partition(".")
            layer = PROJECTOR_SPELLINGS[position]
            return TensorSource(f"{self.stem}multi_modal_projector.{layer}.{kind}")
        return TensorSource(parameter)

    def own_tensors(self, entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
        """Pick the tensors of the vision half."""
        return {name: entry for name, entry in entries.items() if name.startswith(self.vision)}

    def foreign_tensors(self, entries: Mapping[str, TensorEntry]) -> list[CheckpointProblem]:
        """Name the tensors that belong to neither half."""
        known = self.vision + self.language
        return [foreign_problem(e) for name, e in entries.items() if not name.startswith(known)]


def check_vision_model(config: ModelConfig, tensors: Mapping[str, TensorEntry]) -> RoleCheck:
    """Compare the vision half with the headers of a checkpoint; nothing is read.

    Args:
        config: Of the checkpoint.
        tensors: All of its tensors, by name.

    Raises:
        CheckpointError: A vision half that cannot be built.
    """
    naming = _naming(config.layout, tensors)
    model = empty_vision_model(config)
    foreign = naming.foreign_tensors(tensors)
    return check_role(model, naming.own_tensors(tensors), _sources(naming, model), foreign)


def load_vision_model(
    directory: Path,
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    progress: LoadingProgress = NO_PROGRESS,
) -> VisionModel:
    """Build the vision half of a checkpoint, ready for inference.

    Args:
        directory: Model directory.
        config: Its configuration.
        dtype: Element type to compute in.
        device: Where to hold the weights.
        progress: Told of every read.

    Raises:
        CheckpointError: Names a tensor that is missing, extra, misshapen or of neither half.
    """
    entries = list_tensors(directory)
    naming = _naming(config.layout, entries)
    refuse(naming.foreign_tensors(entries))
    model = empty_vision_model(config)
    own, sources = naming.own_tensors(entries), _sources(naming, model)
    load_tensors(model, own, sources, dtype, device, progress)
    return model.eval().requires_grad_(False)


def empty_vision_model(config: ModelConfig) -> VisionModel:
    """Build the vision half on the meta device.

    Raises:
        CheckpointError: It cannot be built.
    """
    with torch.device("meta"):
        return VisionModel(config)


def _sources(naming: TensorNaming, model: VisionModel) -> dict[str, TensorSource]:
    return {parameter: naming.source(parameter) for parameter in model.state_dict()}


def _naming(layout: CheckpointLayout, entries: Mapping[str, TensorEntry]) -> TensorNaming:
    if layout is CheckpointLayout.ORIGINAL:
        return TensorNaming(ORIGINAL_VISION_PREFIXES, ("language_model.",), is_original=True)
    stem = "model." if any(name.startswith("model.") for name in entries) else ""
    vision = (f"{stem}vision_tower.", f"{stem}multi_modal_projector.")
    language = (f"{stem}language_model.", "lm_head.")
    norm_block = "attn" if any(".attn.q_norm." in name for name in entries) else "attention"
    return TensorNaming(vision, language, False, stem, norm_block)


def original_sources(model: VisionModel) -> dict[str, TensorSource]:
    """Name for every parameter of a model the tensor that holds it in the original layout."""
    return _sources(_naming(CheckpointLayout.ORIGINAL, {}), model)


def _original_source(name: str) -> TensorSource:
    """Source of a tensor of the vision transformer, named without `vision_model.`."""
    for ours, theirs in ORIGINAL_SPELLINGS:
        name = name.replace(ours, theirs)
    for projection, part in FUSED_PARTS.items():
        if f".attn.{projection}." in name:
            return TensorSource(f"vision_model.{name.replace(projection, 'qkv')}", part, 3)
    return TensorSource(f"vision_model.{name}")
