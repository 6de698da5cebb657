"""The cache as a specification, and against a simple model of itself."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.errors import FeaturesNotFoundError, OverloadedError
from common.tiling import TileGrid
from vision_service.feature_cache import (
    SCORE_BYTES,
    SCORES_ENTRY_BYTES,
    FeatureCache,
    ProjectionName,
)
from vision_service.images import EncodedImage, EncodeTimings, ProjectedImage

SCORES = SCORES_ENTRY_BYTES + SCORE_BYTES


def encoded(key: str, num_bytes: int = 40, scores: tuple[float, ...] = ()) -> EncodedImage:
    features, timings = torch.zeros(1, num_bytes // 4, 1), EncodeTimings(0, 0, 0)
    return EncodedImage(key.encode(), TileGrid(1, 1, False), scores, features, timings)


def name(key: str, compressed: bool = False, dtype: torch.dtype = torch.float32) -> ProjectionName:
    return ProjectionName(key.encode(), (compressed,), dtype)


def projected(num_bytes: int = 40) -> ProjectedImage:
    return ProjectedImage((num_bytes // 4,), torch.zeros(num_bytes // 4, 1), 0.0)


def cache_with(max_bytes: int, *keys: str) -> FeatureCache:
    cache = FeatureCache(max_bytes)
    for key in keys:
        cache.commit(encoded(key))
    return cache


def kept(cache: FeatureCache, *keys: str) -> list[bool]:
    return [cache.find(key.encode()) is not None for key in keys]


def test_a_committed_picture_can_be_taken_into_use() -> None:
    cache, image = FeatureCache(100), encoded("a")
    cache.commit(image)
    assert cache.acquire(b"a") is image
    assert (cache.kept_bytes, cache.referenced_bytes, cache.num_images) == (40, 40, 1)
    cache.release(b"a")
    assert (cache.kept_bytes, cache.referenced_bytes) == (40, 0)


def test_an_unknown_picture_must_be_encoded_again() -> None:
    with pytest.raises(FeaturesNotFoundError, match="encode it again"):
        FeatureCache(100).acquire(b"a")


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_with(120, "a", "b", "c")
    cache.acquire(b"a")
    cache.release(b"a")
    cache.commit(encoded("d"))
    assert kept(cache, "a", "b", "c", "d") == [True, False, True, True]


def test_looking_counts_as_use() -> None:
    cache = cache_with(80, "a", "b")
    cache.find(b"a")
    cache.commit(encoded("c"))
    assert kept(cache, "a", "b", "c") == [True, False, True]


def test_what_is_in_use_is_never_evicted() -> None:
    cache = cache_with(120, "a", "b", "c")
    cache.acquire(b"a")
    cache.commit(encoded("big", 80))
    assert kept(cache, "a", "b", "c", "big") == [True, False, False, True]


def test_two_uses_need_two_releases() -> None:
    cache = cache_with(40, "a")
    cache.acquire(b"a")
    cache.acquire(b"a")
    cache.release(b"a")
    with pytest.raises(OverloadedError):
        cache.commit(encoded("b"))
    cache.release(b"a")
    cache.commit(encoded("b"))
    assert kept(cache, "a", "b") == [False, True]


def test_a_picture_that_cannot_fit_evicts_nothing() -> None:
    cache = cache_with(120, "a", "b")
    cache.acquire(b"a")
    with pytest.raises(OverloadedError):
        cache.commit(encoded("big", 84))
    assert kept(cache, "a", "b", "big") == [True, True, False]
    assert cache.kept_bytes == 80


def test_committing_again_keeps_the_first() -> None:
    """Failure mode 28: of concurrent puts one is kept, whole."""
    cache, first = FeatureCache(100), encoded("a")
    cache.commit(first)
    cache.acquire(b"a")
    cache.commit(encoded("a"))
    assert cache.find(b"a") is first
    assert (cache.kept_bytes, cache.referenced_bytes) == (40, 40)


def test_a_release_too_many_is_an_error() -> None:
    cache = cache_with(40, "a")
    with pytest.raises(FeaturesNotFoundError, match="not in use"):
        cache.release(b"a")
    assert cache.referenced_bytes == 0


def test_threads_leave_the_books_in_order() -> None:
    cache = cache_with(400, *"abcdefgh")

    def use(index: int) -> None:
        key = "abcdefgh"[index % 8]
        cache.commit(encoded(key))
        cache.acquire(key.encode())
        cache.release(key.encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(2_000)))
    assert (cache.kept_bytes, cache.referenced_bytes, cache.num_images) == (320, 0, 8)


def test_an_embedding_is_kept_by_picture_mask_and_element_type() -> None:
    cache, kept_one = FeatureCache(400), projected()
    assert cache.commit_projection(name("a"), kept_one)
    assert cache.acquire_projection(name("a")) is kept_one
    others = [name("b"), name("a", compressed=True), name("a", dtype=torch.bfloat16)]
    assert [cache.acquire_projection(other) for other in others] == [None] * 3
    assert (cache.kept_bytes, cache.referenced_bytes, cache.num_images) == (40, 40, 0)
    cache.release(name("a"))
    assert cache.referenced_bytes == 0


def test_an_embedding_that_does_not_fit_is_not_kept_and_evicts_nothing() -> None:
    cache = cache_with(120, "a", "b")
    cache.acquire(b"a")
    assert not cache.commit_projection(name("c"), projected(84))
    assert kept(cache, "a", "b") == [True, True]


def test_an_embedding_in_use_is_never_evicted() -> None:
    cache = FeatureCache(80)
    cache.commit_projection(name("a"), projected())
    cache.acquire_projection(name("a"))
    cache.commit(encoded("b"))
    cache.commit(encoded("c"))
    assert kept(cache, "b", "c") == [False, True]
    assert cache.acquire_projection(name("a")) is not None


def test_outputs_and_embeddings_go_by_age() -> None:
    cache = cache_with(120, "a")
    cache.commit_projection(name("a"), projected())
    cache.commit(encoded("b"))
    cache.commit(encoded("c"))
    assert kept(cache, "a", "b", "c") == [False, True, True]
    cache.commit(encoded("d"))
    assert cache.acquire_projection(name("a")) is None


def test_scores_outlive_the_output_and_serve_with_an_embedding() -> None:
    cache = FeatureCache(2 * SCORES + 80)
    cache.commit(encoded("a", scores=(0.5,)))
    cache.commit_projection(name("a"), projected())
    assert cache.find_scored(name("a")) is not None
    cache.commit(encoded("b", scores=(0.25,)))
    scored = cache.find_scored(name("a"))
    assert cache.find(b"a") is None
    assert scored is not None
    assert (scored.image_key, scored.scores) == (b"a", (0.5,))
    assert cache.kept_bytes == 2 * SCORES + 80


def test_scores_without_an_embedding_do_not_serve() -> None:
    cache = FeatureCache(SCORES + 40)
    cache.commit(encoded("a", scores=(0.5,)))
    assert cache.find_scored(name("a")) is None


def test_scores_go_last_and_oldest_first() -> None:
    cache = FeatureCache(2 * SCORES + 80)
    for key in "ab":
        cache.commit(encoded(key, scores=(0.5,)))
        cache.commit_projection(name(key), projected(8))
    cache.acquire_projection(name("a"))
    cache.acquire_projection(name("b"))
    cache.find_scored(name("a"))
    cache.commit(encoded("big", 80 + SCORES - 16))
    assert cache.find_scored(name("b")) is None
    assert cache.find_scored(name("a")) is not None
    assert cache.kept_bytes <= 2 * SCORES + 80


def test_scores_that_do_not_fit_beside_their_output_are_not_kept() -> None:
    cache = FeatureCache(SCORES + 39)
    cache.commit(encoded("a", scores=(0.5,)))
    assert (kept(cache, "a"), cache.kept_bytes) == ([True], 40)


class CacheAgainstModel(RuleBasedStateMachine):
    """Any sequence of calls: bytes add up, nothing in use is lost, refusals change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = FeatureCache(100)
        self.uses: dict[bytes, int] = {}
        self.sizes: dict[bytes, int] = {}

    @rule(name=st.sampled_from("abcdef"), words=st.integers(1, 12))
    def commit(self, name: str, words: int) -> None:
        image = encoded(name, 4 * words)
        in_use = sum(self.sizes[key] for key in self.uses)
        is_new = self.cache.find(image.image_key) is None
        try:
            self.cache.commit(image)
        except OverloadedError:
            assert is_new
            assert in_use + image.num_bytes > 100
        else:
            assert not is_new or in_use + image.num_bytes <= 100
            self.sizes |= {image.image_key: image.num_bytes} if is_new else {}

    @rule(name=st.sampled_from("abcdef"))
    def acquire(self, name: str) -> None:
        key = name.encode()
        try:
            assert self.cache.acquire(key).num_bytes == self.sizes[key]
        except FeaturesNotFoundError:
            assert key not in self.uses
        else:
            self.uses[key] = self.uses.get(key, 0) + 1

    @precondition(lambda self: self.uses)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.uses)))
        self.cache.release(key)
        self.uses[key] -= 1
        if not self.uses[key]:
            del self.uses[key]

    @invariant()
    def books_are_in_order(self) -> None:
        found = [key for key in self.sizes if self.cache.find(key) is not None]
        assert self.cache.kept_bytes == sum(self.sizes[key] for key in found) <= 100
        assert self.cache.referenced_bytes == sum(self.sizes[key] for key in self.uses)
        assert self.cache.num_images == len(found)
        assert set(self.uses) <= set(found)


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
