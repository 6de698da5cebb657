"""Who says a message, on the wire and inside; the router and the language service agree on it."""

from common.types import Role
from protos.dvd.v1 import inference_pb2

ROLES = {
    inference_pb2.ROLE_SYSTEM: Role.SYSTEM,
    inference_pb2.ROLE_USER: Role.USER,
    inference_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    inference_pb2.ROLE_NOBODY: Role.NOBODY,
}
WIRE_ROLES = {role: wire for wire, role in ROLES.items()}
