"""Show an answer as it comes, then what it used: `python examples/streaming.py`."""

import asyncio

from address import GRPC, PICTURES, read_address

from deploy.client import InferenceClient, ask_about


async def main(address: str) -> None:
    client = InferenceClient(address)
    request = ask_about([PICTURES / "scene.png"], "Tell me what is in the picture.")
    async for event in client.stream(request):
        if event.HasField("delta"):
            print(event.delta.text, end="", flush=True)
        elif event.HasField("finished"):
            usage = event.finished.usage
            before, after = usage.visual_tokens_before_resolution, usage.visual_tokens
            print(f"\nvisual tokens: {before} -> {after}")
    await client.close()


asyncio.run(main(read_address(__doc__, GRPC)))
