"""Reference conversations as wire requests."""

from common.types import ResolutionScope, Role
from deploy.ask import SCOPES
from protos.dvd.v1 import inference_pb2
from tests.reference.conversation import Message, Pictures, Text

ROLES = {
    Role.SYSTEM: inference_pb2.ROLE_SYSTEM,
    Role.USER: inference_pb2.ROLE_USER,
    Role.ASSISTANT: inference_pb2.ROLE_ASSISTANT,
}


def wire_request(
    messages: tuple[Message, ...],
    max_tokens: int,
    scope: ResolutionScope = ResolutionScope.REQUEST,
) -> inference_pb2.GenerateRequest:
    """Write a greedy request."""
    return inference_pb2.GenerateRequest(
        messages=[
            inference_pb2.Message(
                role=ROLES[message.role], parts=[_part(part) for part in message.parts]
            )
            for message in messages
        ],
        sampling=inference_pb2.SamplingParameters(max_tokens=max_tokens, temperature=0.0),
        resolution_scope=SCOPES[scope],
    )


def _part(part: Text | Pictures) -> inference_pb2.Part:
    if isinstance(part, Text):
        return inference_pb2.Part(text=part.text)
    images = [inference_pb2.Image(data=file) for file in part.files]
    if len(images) == 1:
        return inference_pb2.Part(image=images[0])
    return inference_pb2.Part(image_group=inference_pb2.ImageGroup(images=images))
