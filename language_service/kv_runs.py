"""Which tokens of the KV cache belong to whom: book-keeping alone, no tensors.

A sequence gets one contiguous run of blocks for its prompt and its longest answer, so that
attention reads keys and values through a view instead of gathering them.
"""

from dataclasses import dataclass

BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class KvRun:
    """A contiguous run of token slots.

    Attributes:
        begin: First slot.
        num_tokens: Slots, a multiple of `BLOCK_TOKENS`.
    """

    begin: int
    num_tokens: int

    @property
    def end(self) -> int:
        """One past the last slot."""
        return self.begin + self.num_tokens


class KvRuns:
    """First fit over a fixed number of slots; neighbours merge when freed.

    Args:
        num_tokens: Capacity; what does not fill a block is not used.

    Attributes:
        num_tokens: Capacity in whole blocks.
        num_free_tokens: Slots that no sequence holds, contiguous or not.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens // BLOCK_TOKENS * BLOCK_TOKENS
        self.num_free_tokens = self.num_tokens
        self._free = [KvRun(0, self.num_tokens)] if self.num_tokens else []

    def allocate(self, num_tokens: int) -> KvRun | None:
        """Take a run of at least `num_tokens`; None where there is no such run now."""
        wanted = -(-num_tokens // BLOCK_TOKENS) * BLOCK_TOKENS
        for position, run in enumerate(self._free):
            if run.num_tokens >= wanted:
                rest = KvRun(run.begin + wanted, run.num_tokens - wanted)
                self._free[position : position + 1] = [rest] if rest.num_tokens else []
                self.num_free_tokens -= wanted
                return KvRun(run.begin, wanted)
        return None

    def free(self, run: KvRun) -> None:
        """Give a run back."""
        merged: list[KvRun] = []
        for free in sorted([*self._free, run], key=lambda each: each.begin):
            if merged and merged[-1].end == free.begin:
                last = merged.pop()
                merged.append(KvRun(last.begin, last.num_tokens + free.num_tokens))
            else:
                merged.append(free)
        self._free = merged
        self.num_free_tokens += run.num_tokens
