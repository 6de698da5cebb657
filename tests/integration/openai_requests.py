"""Reference conversations as an OpenAI client says them, and a client to say them with."""

import base64
from typing import Any

from common.types import Role
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster
from tests.reference.conversation import Message, Text, message, user

MAX_TOKENS = 10
PICTURE, OTHER = pictures.half_blank(448, 224), pictures.shapes(224, 224, 3)
TEXT = (user("Tell me about the sea."),)
ONE = (user(PICTURE, "What is this?"),)
SEVERAL = (user("Image-1: ", PICTURE, "Image-2: ", OTHER, " What differs?"),)
TURNS = (
    message(Role.SYSTEM, "Be brief."),
    user(PICTURE, "What is this?"),
    message(Role.ASSISTANT, "A house by the sea."),
    user("And its colour?"),
)
GREEDY = {"model": "tiny", "temperature": 0, "max_tokens": MAX_TOKENS}


def base_url(cluster: LocalCluster) -> str:
    """Where OpenAI clients find a cluster."""
    return f"http://{cluster.router.doors.http_address}/v1"


async def by_grpc(cluster: LocalCluster, said: tuple[Message, ...], **fields: Any) -> Answer:
    """Ask at the other door."""
    request = wire_request(said, MAX_TOKENS)
    request.sampling.MergeFrom(inference_pb2.SamplingParameters(**fields))
    return await cluster.client.answer(request)


def text_of(chunks: list[Any], choice: int = 0) -> str:
    """What a stream has told of one answer."""
    return "".join(
        each.delta.content or ""
        for chunk in chunks
        for each in chunk.choices
        if each.index == choice
    )


def messages(*said: Message) -> list[dict[str, Any]]:
    """Write a conversation whose pictures each have a place of their own."""
    return [{"role": str(message.role), "content": _content(message)} for message in said]


def picture(file: bytes, **options: Any) -> dict[str, Any]:
    """Write one picture as a data URI."""
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    url = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **options}}


def _content(message: Message) -> list[dict[str, Any]]:
    parts = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"type": "text", "text": part.text})
        else:
            (file,) = part.files
            parts.append(picture(file))
    return parts
