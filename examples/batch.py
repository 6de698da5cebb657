"""Ask several questions at once: `python examples/batch.py`.

There is no call for a batch: requests that are under way together share the batches of both sides,
and none changes another's answer.
"""

import asyncio

from address import GRPC, PICTURES, read_address

from deploy.client import InferenceClient, ask_about

QUESTIONS = {
    "signpost.png": "What does the yellow sign say?",
    "number_plate.png": "Which number does the pink sign show?",
    "dots.png": "Count the dots.",
    "icons.png": "Which colour does the circle icon have?",
}


async def main(address: str) -> None:
    client = InferenceClient(address)
    answers = await asyncio.gather(
        *(client.answer(ask_about([PICTURES / name], text)) for name, text in QUESTIONS.items())
    )
    for (name, question), answer in zip(QUESTIONS.items(), answers, strict=True):
        print(f"{name}: {question} {answer.text}")
    await client.close()


asyncio.run(main(read_address(__doc__, GRPC)))
