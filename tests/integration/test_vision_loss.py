"""A vision replica dies at every step of a delivery: only its unfinished pictures move.

Failure mode 2: killed before it accepts, while it encodes, after it has sent, before it is told
that all has arrived. What is encoded where is counted (mode 32), and answers stay equal (36).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.types import ReplicaRole
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.dying_replica import ENCODE, PUSH, PUT_EMBEDDINGS
from tests.integration.mortal_cluster import Mortal, mortal_cluster
from tests.integration.requests import wire_request
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

TILES = (5, 3, 1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mortal(flash_model_dir: Path) -> AsyncIterator[Mortal]:
    async with mortal_cluster(flash_model_dir, *ReplicaRole) as made:
        yield made


def asking(seed: int) -> inference_pb2.GenerateRequest:
    """Ask about three pictures that no other seed has."""
    files = (pictures.grid(2, 2, seed), pictures.grid(2, 1, seed), pictures.grid(1, 1, seed))
    return wire_request((user(*files, "Compare them."),), 8)


@pytest.mark.parametrize("num_finished", [0, 1, 2])
@pytest.mark.parametrize(
    ("method", "at_request"),
    [
        pytest.param(ENCODE, True, id="before accept"),
        pytest.param(ENCODE, False, id="mid encode"),
        pytest.param(PUSH, True, id="before send"),
        pytest.param(PUSH, False, id="after send"),
    ],
)
async def test_a_vision_replica_that_dies_costs_its_unfinished_pictures(
    mortal: Mortal, method: str, at_request: bool, num_finished: int
) -> None:
    seed = 1000 + 10 * num_finished + 100 * at_request + 1000 * (method == PUSH)
    mortal.fate.method, mortal.fate.at_request = method, at_request
    before = mortal.num_tiles
    answer = await mortal.answer(asking(seed), num_finished)
    # A picture that was lost is encoded once more; whatever the other replica had stays there.
    assert sum(TILES) <= mortal.num_tiles - before <= 2 * sum(TILES)
    assert [sum(1 for _ in image.compressed) for image in answer.finished.images] == list(TILES)
    again = await mortal.answer(asking(seed))
    assert again.token_ids == answer.token_ids
    assert list(again.finished.images) == list(answer.finished.images)


async def test_a_vision_replica_that_dies_before_the_commit_reaches_it(mortal: Mortal) -> None:
    """The embedding may be there or not; the next attempt finds out."""
    await mortal.revive()
    mortal.fate.method, mortal.fate.at_request = PUT_EMBEDDINGS, False
    (mortal.fate.victim,) = [each for each in mortal.fronts if each.entry.name == "vision-0"]
    answer = await mortal.answer(asking(7000), 1)
    mortal.fate.victim = None
    again = await mortal.answer(asking(7000))
    assert again.token_ids == answer.token_ids
    assert list(again.finished.images) == list(answer.finished.images)
