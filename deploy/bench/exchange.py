"""One request of a load and what became of it, on one clock."""

from dataclasses import dataclass

from deploy.bench.door import StageSeconds, TokenUse


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message with more of an answer.

    Attributes:
        at_seconds: When it came.
        num_tokens: In it, as far as the door tells.
    """

    at_seconds: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class TokenShare:
    """A message with its share of the tokens that the server counted.

    Attributes:
        at_seconds: When it came.
        num_tokens: Its share; not whole where the door does not tell.
    """

    at_seconds: float
    num_tokens: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request.

    Attributes:
        sent_at_seconds: When it was sent.
        ended_at_seconds: When its answer, or its error, was all there.
        arrivals: Messages with tokens, in order.
        num_pictures: Sent with it.
        repeats_pictures: Whether these came before.
        text: The answer.
        use: What it used; None unless it was answered.
        stages: Where its time went; None where that is not told.
        error: gRPC's name of the error's code; empty without one.
        is_cut_off: Whether the load was stopped before it ended.
    """

    sent_at_seconds: float
    ended_at_seconds: float
    arrivals: tuple[Arrival, ...] = ()
    num_pictures: int = 0
    repeats_pictures: bool = False
    text: str = ""
    use: TokenUse | None = None
    stages: StageSeconds | None = None
    error: str = ""
    is_cut_off: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether all of its answer came."""
        return self.use is not None

    @property
    def output_tokens(self) -> int:
        """Of the answer, by the server's count."""
        return self.use.output_tokens if self.use else 0

    @property
    def token_shares(self) -> list[TokenShare]:
        """Messages whose tokens add up to the server's count; without one, as they came."""
        told = sum(arrival.num_tokens for arrival in self.arrivals)
        if not told:
            return [TokenShare(self.ended_at_seconds, self.output_tokens)]
        scale = self.output_tokens / told if self.is_answered else 1.0
        return [TokenShare(each.at_seconds, each.num_tokens * scale) for each in self.arrivals]

    @property
    def ttft_seconds(self) -> float:
        """From sending to the first token; to the end where no token came."""
        first = self.arrivals[0].at_seconds if self.arrivals else self.ended_at_seconds
        return first - self.sent_at_seconds

    @property
    def e2el_seconds(self) -> float:
        """From sending to the end."""
        return self.ended_at_seconds - self.sent_at_seconds

    @property
    def tpot_seconds(self) -> float | None:
        """Mean time of a token behind the first; None of fewer than two tokens."""
        if self.output_tokens < 2:
            return None
        return (self.e2el_seconds - self.ttft_seconds) / (self.output_tokens - 1)

    @property
    def itl_seconds(self) -> list[float]:
        """Times between tokens; a message of several counts as so many equal gaps."""
        gaps: list[float] = []
        for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False):
            gap = (later.at_seconds - earlier.at_seconds) / later.num_tokens
            gaps += [gap] * later.num_tokens
        return gaps
