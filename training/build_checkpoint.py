"""Build a complete small checkpoint with random weights: `python -m training.build_checkpoint`.

It has every file and tensor of a published InternVL3.5 or InternVL3.5-Flash model, so that the
whole system can be run and tested without a download. Its answers mean nothing, but they are
varied, end or go on, and depend on every pixel; its gate tells plain tiles from busy ones.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from common.model_config import CheckpointLayout
from common.model_files import RANDOM_WEIGHTS_NOTE
from common.resolution_rule import ResolutionThresholds
from training.checkpoint_files import write_documents, write_weights
from training.checkpoint_shape import SHAPES, TINY, CheckpointShape
from training.gate_calibration import point_gate
from training.model_documents import ModelFacts
from training.random_weights import RandomWeights, draw_flash, draw_language, draw_vision
from training.tokenizer import TokenIds, save_tokenizer, train_tokenizer

THRESHOLDS = ResolutionThresholds(relative=1 / 3, absolute=0.5)
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

RANDOM_WEIGHTS_TEXT = (
    "This model has random weights: its answers depend on the pixels and mean nothing.\n"
)


@dataclass(frozen=True, slots=True)
class CheckpointOptions:
    """What to build; equal options give equal bytes.

    Attributes:
        shape: How large.
        layout: How files and tensors are named.
        flash: Whether it has a visual resolution router; in the original layout only.
        seed: Of all weights; those without Flash are the same as those with it.
        dtype: Element type of the weights, a key of `DTYPES`.
        num_shards: Weight files.
    """

    shape: CheckpointShape = TINY
    layout: CheckpointLayout = CheckpointLayout.ORIGINAL
    flash: bool = True
    seed: int = 0
    dtype: str = "bfloat16"
    num_shards: int = 1

    def __post_init__(self) -> None:
        """Refuse what no published checkpoint is.

        Raises:
            ValueError: Flash in the transformers layout.
        """
        if self.flash and self.layout is CheckpointLayout.TRANSFORMERS:
            raise ValueError("the transformers layout has no Flash: choose flash=False")


def build_checkpoint(directory: Path, options: CheckpointOptions) -> None:
    """Write a checkpoint into a directory, which is made where it does not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, directory, options.shape.text.max_tokens)
    token_ids = TokenIds.of(tokenizer)
    thresholds = THRESHOLDS if options.flash else None
    facts = ModelFacts(options.shape, thresholds, token_ids, options.dtype)
    write_documents(directory, facts, options.layout)
    tensors = {
        name: tensor.to(DTYPES[options.dtype])
        for name, tensor in random_tensors(options, token_ids).items()
    }
    write_weights(directory, tensors, options.layout, options.num_shards)
    (directory / RANDOM_WEIGHTS_NOTE).write_text(RANDOM_WEIGHTS_TEXT)


def random_tensors(options: CheckpointOptions, token_ids: TokenIds) -> dict[str, torch.Tensor]:
    """Draw all tensors, float32, by original name; the gate tells plain tiles from busy ones."""
    tensors = draw_tensors(options, token_ids)
    if options.flash:
        point_gate(tensors, options.shape, options.seed)
    return tensors


def draw_tensors(options: CheckpointOptions, token_ids: TokenIds) -> dict[str, torch.Tensor]:
    """Draw all tensors, float32, by original name; the gate answers by chance."""
    weights = RandomWeights(options.seed)
    draw_vision(weights, options.shape)
    draw_language(weights, options.shape.text, token_ids)
    if options.flash:
        draw_flash(weights, options.shape)
    return weights.tensors


def main() -> None:
    """Read the command line and build."""
    defaults = CheckpointOptions()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where to write")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of all weights")
    parser.add_argument(
        "--layout",
        type=CheckpointLayout,
        choices=list(CheckpointLayout),
        default=defaults.layout,
        help="names of files and tensors",
    )
    parser.add_argument(
        "--no-flash",
        action="store_true",
        help="leave out the resolution router; the transformers layout never has one",
    )
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="how large")
    parser.add_argument("--dtype", choices=DTYPES, default=defaults.dtype, help="of the weights")
    parser.add_argument("--shards", type=int, default=1, help="number of weight files")
    arguments = parser.parse_args()
    options = CheckpointOptions(
        shape=SHAPES[arguments.shape],
        layout=arguments.layout,
        flash=not arguments.no_flash and arguments.layout is CheckpointLayout.ORIGINAL,
        seed=arguments.seed,
        dtype=arguments.dtype,
        num_shards=arguments.shards,
    )
    build_checkpoint(arguments.directory, options)


if __name__ == "__main__":
    main()
