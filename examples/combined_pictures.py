"""Ask about two pictures in one place of the prompt: `python examples/combined_pictures.py`.

The model sees the tiles of both as one run, as of one picture; only gRPC has a word for that.
"""

import asyncio

from address import GRPC, PICTURES, read_address

from deploy.client import InferenceClient, ask_about_images, read_picture


async def main(address: str) -> None:
    client = InferenceClient(address)
    pictures = [read_picture(PICTURES / name) for name in ("number_plate.png", "dots.png")]
    request = ask_about_images(pictures, "Which number does the pink sign show?", is_combined=True)
    request.sampling.temperature = 0
    answer = await client.answer(request)
    print(answer.text)
    print("tiles of each picture:", *(len(image.compressed) for image in answer.finished.images))
    await client.close()


asyncio.run(main(read_address(__doc__, GRPC)))
