"""Ask about two pictures, each in a place of its own: `python examples/separate_pictures.py`.

They are announced as Image-1 and Image-2, as the model was trained.
"""

import asyncio

from address import GRPC, PICTURES, read_address

from deploy.client import InferenceClient, ask_about


async def main(address: str) -> None:
    client = InferenceClient(address)
    question = "Which picture shows a big cross, the first or the second?"
    pictures = [PICTURES / "shapes.png", PICTURES / "neighbours.png"]
    answer = await client.answer(ask_about(pictures, question))
    print(answer.text)
    await client.close()


asyncio.run(main(read_address(__doc__, GRPC)))
