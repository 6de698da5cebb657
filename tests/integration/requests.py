"""Reference conversations as wire requests."""

from common.role_wire import WIRE_ROLES
from common.types import ResolutionScope
from protos.dvd.v1 import inference_pb2
from router.resolution_options import WIRE_SCOPES
from tests.reference.conversation import Message, Pictures, Text


def wire_request(
    messages: tuple[Message, ...],
    max_tokens: int,
    scope: ResolutionScope = ResolutionScope.REQUEST,
) -> inference_pb2.GenerateRequest:
    """Write a greedy request."""
    return inference_pb2.GenerateRequest(
        messages=[
            inference_pb2.Message(
                role=WIRE_ROLES[message.role], parts=[_part(part) for part in message.parts]
            )
            for message in messages
        ],
        sampling=inference_pb2.SamplingParameters(max_tokens=max_tokens, temperature=0.0),
        resolution_scope=WIRE_SCOPES[scope],
    )


def _part(part: Text | Pictures) -> inference_pb2.Part:
    if isinstance(part, Text):
        return inference_pb2.Part(text=part.text)
    images = [inference_pb2.Image(data=file) for file in part.files]
    if len(images) == 1:
        return inference_pb2.Part(image=images[0])
    return inference_pb2.Part(image_group=inference_pb2.ImageGroup(images=images))
