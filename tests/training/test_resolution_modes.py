"""Modes decide as the published rule does, and their cap is what that rule can do at most."""

import pytest

from common.resolution_rule import ResolutionThresholds, compress_mask
from training.resolution_modes import Mode, choose_masks, most_compressed

SCORES = ((0.9, 0.8, 0.2), (0.7, 0.6))
HALF = ResolutionThresholds(relative=0.5, absolute=0.5)


@pytest.mark.parametrize(
    ("mode", "masks"),
    [
        (Mode.OFF, ((False, False, False), (False, False))),
        (Mode.REQUEST, ((True, True, False), (False, False))),
        (Mode.IMAGE, ((True, False, False), (True, False))),
        (Mode.ABSOLUTE, ((True, True, False), (True, True))),
        (Mode.ALL_COMPRESSED, ((True, True, True), (True, True))),
    ],
)
def test_every_mode_decides_in_its_own_way(mode: Mode, masks: tuple[tuple[bool, ...], ...]) -> None:
    assert choose_masks(mode, SCORES, HALF) == masks


@pytest.mark.parametrize("mode", Mode)
def test_no_picture_needs_no_decision(mode: Mode) -> None:
    assert choose_masks(mode, (), HALF) == ()
    assert most_compressed(mode, (), 0.5) == 0


@pytest.mark.parametrize("quantile", [0.0, 0.2, 1 / 3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("num_tiles", range(1, 14))
def test_the_cap_is_what_the_rule_does_to_certain_tiles(quantile: float, num_tiles: int) -> None:
    scores = [0.9 + index / 1000 for index in range(num_tiles)]
    mask = compress_mask(scores, ResolutionThresholds(quantile, 0.0), use_quantile=True)
    assert most_compressed(Mode.REQUEST, [num_tiles], quantile) == sum(mask)
    assert most_compressed(Mode.IMAGE, [num_tiles] * 2, quantile) == 2 * sum(mask)


def test_without_the_quantile_every_tile_may_be_compressed() -> None:
    assert most_compressed(Mode.ABSOLUTE, [3, 1], 0.5) == 4
    assert most_compressed(Mode.ALL_COMPRESSED, [3, 1], 0.5) == 4
    assert most_compressed(Mode.OFF, [3, 1], 0.5) == 0
