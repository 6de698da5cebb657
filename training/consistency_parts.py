"""The parts of ViCO stage 1: what each compresses, asks, trains and starts from.

Six parts:

- `projector`: only the projector of compressed tiles learns, at one rate per picture;
- `uniform`: all but the gate learns, at one rate per picture: the published stage;
- `mixed`: our extension. Rates are drawn per tile. Without it the language model never sees both
  rates in one picture, and what the resolution router later mixes is answered worse than what is
  compressed throughout. Half of it asks most about what takes several tiles to answer, which
  compression hurts longest;
- `served`: the same with as many tiles compressed as are when the model is served;
- `kept`: from `mixed` again, as `served` but that no tile which shows a number is ever compressed:
  the resolution router leaves those at full resolution. Longer, because it is what matters;
- `settled`: goes on so, more slowly, from the mean of the weights of those two, which answers
  better than either.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.picture_data import AskAbout, ask_much, ask_several, ask_widely
from training.run import Recipe
from training.trainable_model import TrainableModel

COMPRESSED_PICTURES = 0.5
WHOLE_PICTURES = 0.3
COMPRESSED_TILES = 0.6
SERVED_WHOLE_PICTURES, SERVED_COMPRESSED_TILES = 0.1, 0.75
GATE_PARTS = ("pooling_before_gating", "gating")

Rates = list[bool]
DrawRates = Callable[[Sequence[int], random.Random], Rates]


def rates_per_picture(picture_tiles: Sequence[int], source: random.Random) -> Rates:
    """Draw one rate for all tiles of a picture: the published stage.

    Args:
        picture_tiles: Tiles of each picture.
        source: Of every choice.

    Returns:
        For each tile of all pictures whether it is compressed.
    """
    rates: Rates = []
    for num_tiles in picture_tiles:
        rates += [source.random() < COMPRESSED_PICTURES] * num_tiles
    return rates


def rates_per_tile(picture_tiles: Sequence[int], source: random.Random) -> Rates:
    """Draw a rate for each tile, but leave some pictures whole: the extension."""
    return _rates_per_tile(picture_tiles, source, WHOLE_PICTURES, COMPRESSED_TILES)


def rates_as_served(picture_tiles: Sequence[int], source: random.Random) -> Rates:
    """Draw a rate for each tile, so that about as many are compressed as by the shipped rule."""
    return _rates_per_tile(picture_tiles, source, SERVED_WHOLE_PICTURES, SERVED_COMPRESSED_TILES)


def _rates_per_tile(
    picture_tiles: Sequence[int], source: random.Random, whole: float, compressed: float
) -> Rates:
    rates: Rates = []
    for num_tiles in picture_tiles:
        share = 0.0 if source.random() < whole else compressed
        rates += [source.random() < share for _ in range(num_tiles)]
    return rates


@dataclass(frozen=True, slots=True)
class ConsistencyPart:
    """One of the parts.

    Attributes:
        name: As above.
        recipe: Seed, rates, steps.
        draw_rates: Which tiles are compressed.
        ask_about: Draws pictures and what is asked about them.
        trained: What the names of the trained parameters contain; empty for all but the gate.
        keeps_numbers: Whether tiles that show a number stay at full resolution.
        starts_from: Parts whose weights it starts from, the mean of several; none for those of
            the part before.
    """

    name: str
    recipe: Recipe
    draw_rates: DrawRates
    ask_about: AskAbout
    trained: str = ""
    keeps_numbers: bool = False
    starts_from: tuple[str, ...] = ()

    def release(self, model: TrainableModel) -> None:
        """Freeze all parameters but those that this part trains."""
        for name, parameter in model.named_parameters():
            is_gate = any(gate in name for gate in GATE_PARTS)
            parameter.requires_grad_(self.trained in name and not is_gate)


PARTS = (
    ConsistencyPart(
        "projector", Recipe(11, 5e-3, 2e-3, 300, 32), rates_per_picture, ask_several, "mlp2."
    ),
    ConsistencyPart("uniform", Recipe(12, 8e-4, 4e-4, 400, 32), rates_per_picture, ask_much),
    ConsistencyPart("mixed", Recipe(13, 8e-4, 4e-4, 800, 32), rates_per_tile, ask_widely),
    ConsistencyPart("served", Recipe(14, 8e-4, 4e-4, 800, 32), rates_as_served, ask_widely),
    ConsistencyPart(
        "kept",
        Recipe(14, 8e-4, 4e-4, 1600, 32),
        rates_as_served,
        ask_widely,
        keeps_numbers=True,
        starts_from=("mixed",),
    ),
    ConsistencyPart(
        "settled",
        Recipe(15, 4e-4, 2e-4, 700, 32),
        rates_as_served,
        ask_widely,
        keeps_numbers=True,
        starts_from=("served", "kept"),
    ),
)
