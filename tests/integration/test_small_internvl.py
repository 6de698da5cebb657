"""Every family, vision transformer and format through a cluster, token for token as transformers.

Three families, two vision transformers, three formats, one file or three: all pairs but family and
format meet in six clusters; `slow` has every combination.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import pytest

from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.local_cluster import local_cluster
from tests.published_models import PublishedFormat
from tests.reference import plain_reference
from tests.small_internvl import VISIONS, SmallModel, build_small_model

ORIGINAL = PublishedFormat.ORIGINAL
NEW, OLD = PublishedFormat.TRANSFORMERS, PublishedFormat.TRANSFORMERS_4
NEW_ATTN = PublishedFormat.TRANSFORMERS_ATTN
FAMILIES = ("qwen3", "qwen3_moe", "gpt_oss")
MAX_TOKENS = 12
NAMES = ("one square picture", "several turns")


@dataclass(frozen=True)
class Case:
    """One checkpoint."""

    family: str
    vision: str
    published_format: PublishedFormat
    num_shards: int

    def __str__(self) -> str:
        return f"{self.family}-{self.vision}-{self.published_format}-{self.num_shards}"


PAIRS = (
    Case("qwen3", "300M", ORIGINAL, 3),
    Case("qwen3", "6B", NEW, 1),
    Case("qwen3_moe", "300M", OLD, 1),
    Case("qwen3_moe", "6B", ORIGINAL, 1),
    Case("gpt_oss", "300M", NEW, 3),
    Case("gpt_oss", "6B", NEW_ATTN, 3),
)
ALL = tuple(
    case
    for each in product(FAMILIES, VISIONS, (ORIGINAL, NEW, NEW_ATTN, OLD), (1, 3))
    if (case := Case(*each)) not in PAIRS
    and not (case.published_format is NEW_ATTN and case.vision == "300M")
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> "Models":
    return Models(tmp_path_factory)


class Models:
    """Built when they are asked for, each once."""

    def __init__(self, directories: pytest.TempPathFactory) -> None:
        self._directories = directories
        self.of = lru_cache(self._build)

    def _build(self, family: str, vision: str) -> SmallModel:
        directory = self._directories.mktemp(f"{family}-{vision}")
        return build_small_model(family, vision, directory)


async def check(case: Case, models: Models, directory: Path) -> None:
    model = models.of(case.family, case.vision)
    served = model.in_format(case.published_format, case.num_shards, directory / "served")
    assert len(list(served.glob("*.safetensors"))) == case.num_shards
    told = set()
    async with local_cluster(served) as cluster:
        for name in NAMES:
            conversation = CONVERSATIONS[name]
            expected = plain_reference.answer(model.reference, conversation, MAX_TOKENS)
            answer = await cluster.client.answer(wire_request(conversation, MAX_TOKENS))
            assert answer.token_ids == expected.token_ids
            assert answer.text == expected.text
            told.update(answer.token_ids)
    assert len(told) > 4, "a model that says one thing alone is no test"


@pytest.mark.parametrize("case", PAIRS, ids=str)
async def test_answers_are_those_of_transformers(
    case: Case, models: Models, tmp_path: Path
) -> None:
    await check(case, models, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=str)
async def test_answers_of_every_other_combination(
    case: Case, models: Models, tmp_path: Path
) -> None:
    await check(case, models, tmp_path)
