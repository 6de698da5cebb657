"""Ask the server how many tokens each word has; it is the one who knows its tokenizer."""

import random

from common.errors import UnavailableError
from common.types import Role
from deploy.bench.door import Door, Ended, Question, Said
from deploy.bench.vocabulary import WORDS, Vocabulary, Word

REPEATS = 16


async def measure_vocabulary(door: Door, num_words: int = 12, seed: int = 0) -> Vocabulary:
    """Count the tokens of some words by short requests.

    Args:
        door: Where to ask.
        num_words: How many words to count.
        seed: Of the choice.

    Raises:
        DvdError: What the door answered.
    """
    words = random.Random(seed).sample(WORDS, num_words)
    counted = []
    for word in words:
        once = await _text_tokens(door, word)
        often = await _text_tokens(door, " ".join([word] * (1 + REPEATS)))
        counted.append(Word(word, max(1, round((often - once) / REPEATS))))
    return Vocabulary(tuple(counted))


async def _text_tokens(door: Door, text: str) -> int:
    question = Question((Said(Role.USER, text),), max_tokens=1)
    async for event in door.ask(question):
        if isinstance(event, Ended):
            return event.use.text_tokens
    raise UnavailableError("The router ended without finishing the answer.")
