"""Numbers by which equal work finds the replica that may still hold what it needs.

A picture goes by its key; a conversation by how it begins, up to its first question, so that every
later turn of it has the key of the first.
"""

import hashlib

from common.conversation import TextPart
from common.types import Role
from router.requests import ValidRequest


def affinity_key(name: bytes) -> int:
    """Hash a name to 64 bits."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def conversation_start(request: ValidRequest) -> bytes:
    """What all turns of a conversation have in common: all up to its first user message."""
    digest = hashlib.blake2b(digest_size=16)
    for message in request.messages:
        digest.update(f"{message.role} {len(message.parts)}\n".encode())
        for part in message.parts:
            if isinstance(part, TextPart):
                text = part.text.encode()
                digest.update(f"text {len(text)}\n".encode() + text)
            else:
                for index in part.image_indexes:
                    digest.update(b"picture\n" + request.images[index].key)
        if message.role is Role.USER:
            break
    return digest.digest()
