"""What the conversations of a load are made of; apart, so that the command line starts at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mix:
    """What conversations are made of.

    Attributes:
        input_tokens: Of each turn's text.
        output_tokens: Limit of each answer.
        range_ratio: Both lengths are drawn evenly from as much less to as much more, 0 to 1.
        num_turns: Of each conversation.
        num_pictures: In the first turn of a conversation that has any.
        text_share: Of conversations without pictures, 0 to 1.
        repeat_share: Of conversations with pictures whose pictures came before, 0 to 1.
    """

    input_tokens: int = 32
    output_tokens: int = 32
    range_ratio: float = 0.0
    num_turns: int = 1
    num_pictures: int = 1
    text_share: float = 0.0
    repeat_share: float = 0.0
