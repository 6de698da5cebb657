"""The cache as a specification, and against a simple model of itself."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.errors import FeaturesNotFoundError, OverloadedError
from common.tiling import TileGrid
from vision_service.feature_cache import FeatureCache
from vision_service.images import EncodedImage, EncodeTimings


def encoded(key: str, num_bytes: int = 40) -> EncodedImage:
    features = torch.zeros(1, num_bytes // 4, 1)
    return EncodedImage(key.encode(), TileGrid(1, 1, False), features, (), EncodeTimings(0, 0, 0))


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
