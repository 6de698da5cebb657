"""Whatever comes and goes, everybody finds its own keys and values, and all comes back.

Random requests share beginnings and pictures, wait for pictures, hold what is kept, are
cancelled, and compete for a cache that is too small; after every step the books must balance.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from language_service.block_tables import KvBlocks
from language_service.prompt import ImageSegment, PromptSegment, TextSegment, VisualSegment
from language_service.scheduler import EngineLimits
from language_service.sequence import Sequence
from language_service.token_keys import TokenKeys
from tests.language_service.kv_simulation import Simulation, picture, sequence_of

LONGEST = 48

# Pieces are few, so that beginnings are shared, and short, so that they end within blocks.
PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.integers(1, 9)),
        st.tuples(st.just("picture"), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=4,
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), PIECES, st.integers(1, 8), st.integers(-1, 1)),
        st.tuples(st.just("wait for pictures"), PIECES, st.integers(1, 8), st.integers(-1, 1)),
        st.tuples(st.just("hold"), PIECES, st.integers(1, 8), st.integers(-1, 1)),
        st.tuples(st.just("supply"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("step"), st.integers(1, 6)),
    ),
    max_size=40,
)


@dataclass
class RandomUse:
    """Drives a simulation, operation by operation."""

    simulation: Simulation
    missing: dict[Sequence, dict[int, VisualSegment]] = field(default_factory=dict)
    now: float = 0.0

    def do(self, what: str, *arguments) -> None:
        self.now += 1.0
        if what == "supply":
            self.supply(*arguments)
        elif what == "cancel":
            self.cancel(*arguments)
        elif what == "step":
            for _ in range(*arguments):
                self.simulation.step()
        else:
            self.submit(what, *arguments)
        self.simulation.blocks.check_integrity()

    def submit(
        self, what: str, pieces: list[tuple[str, int]], max_tokens: int, priority: int
    ) -> None:
        segments = [segment_of(kind, number) for kind, number in pieces]
        if not isinstance(segments[-1], TextSegment):
            segments.append(TextSegment((1,)))
        if what == "wait for pictures":
            self.wait(segments, max_tokens, priority)
            return
        sequence = sequence_of(*segments, max_tokens=max_tokens)
        if what == "hold" and self.simulation.submit_held(*keys_and_ends(segments), sequence):
            return
        self.simulation.submit(sequence, self.now, priority)

    def wait(self, segments: list[PromptSegment], max_tokens: int, priority: int) -> None:
        missing = {i: s for i, s in enumerate(segments) if isinstance(s, VisualSegment)}
        places = [ImageSegment(i) if i in missing else s for i, s in enumerate(segments)]
        sequence = sequence_of(*places, max_tokens=max_tokens)
        self.missing[sequence] = missing
        self.simulation.submit(sequence, self.now, priority)

    def supply(self, number: int) -> None:
        waiting = [each for each in self.simulation.alive if self.missing.get(each)]
        if waiting:
            sequence = waiting[number % len(waiting)]
            # Not in order: a later picture may come before an earlier one.
            missing = self.missing[sequence]
            index = sorted(missing)[number % len(missing)]
            sequence.supply(index, missing.pop(index))

    def cancel(self, number: int) -> None:
        alive = self.simulation.alive
        if alive:
            self.simulation.remove(alive[number % len(alive)])

    def end(self) -> None:
        for sequence in list(self.simulation.alive):
            for index, segment in self.missing.pop(sequence, {}).items():
                sequence.supply(index, segment)
        self.simulation.run()


def segment_of(kind: str, number: int) -> PromptSegment:
    if kind == "picture":
        return picture(number, 3 * number)
    return TextSegment(tuple(range(number)))


def keys_and_ends(segments: list[PromptSegment]) -> tuple[TokenKeys, dict[int, int]]:
    """Keys of a prompt, and for each picture among its segments the tokens up to its end."""
    keys, ends = TokenKeys(), {}
    for index, segment in enumerate(segments):
        if isinstance(segment, VisualSegment):
            keys.add_picture(segment.identity, segment.embeddings.shape[0])
            ends[index] = keys.num_tokens
        elif isinstance(segment, TextSegment):
            keys.add_text(segment.token_ids)
    return keys, ends


def use_of(block_size: int, num_kv_tokens: int, budget: int, seats: int) -> RandomUse:
    limits = EngineLimits(LONGEST, budget, seats)
    return RandomUse(Simulation(limits, KvBlocks(num_kv_tokens, block_size)))


@settings(deadline=None, max_examples=150)
@given(
    operations=OPERATIONS,
    block_size=st.sampled_from([1, 4, 16]),
    num_kv_tokens=st.integers(64, 200),
    budget=st.integers(3, 40),
    seats=st.integers(1, 3),
)
def test_everybody_finds_its_own_and_all_comes_back(
    operations: list[tuple], block_size: int, num_kv_tokens: int, budget: int, seats: int
) -> None:
    use = use_of(block_size, num_kv_tokens, budget, seats)
    for operation in operations:
        use.do(*operation)
    use.end()
    simulation = use.simulation
    assert simulation.alive == []
    assert simulation.scheduler.num_running == 0
    assert simulation.blocks.num_free_tokens == simulation.blocks.num_tokens
    assert all(len(s.output_ids) == s.sampling.max_tokens for s in simulation.finished)


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(PIECES, min_size=2, max_size=6),
    block_size=st.sampled_from([4, 16]),
    num_kv_tokens=st.integers(64, 120),
)
def test_answers_do_not_depend_on_what_the_cache_knows_or_who_gave_way(
    pieces: list[list[tuple[str, int]]], block_size: int, num_kv_tokens: int
) -> None:
    crowded = use_of(block_size, num_kv_tokens, 40, 3)
    for each in pieces:
        crowded.submit("submit", each, 12, 0)
    crowded.end()
    for each in crowded.simulation.finished:
        alone = use_of(block_size, 200, 40, 1)
        again = sequence_of(*each.prompt.segments, max_tokens=12)
        alone.simulation.submit(again)
        alone.end()
        assert again.output_ids == each.output_ids
