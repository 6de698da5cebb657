"""The protos with their comments, as protoc knows both."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from common.errors import ConfigError

MESSAGE = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
ENUM = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
SERVICE = FileDescriptorProto.SERVICE_FIELD_NUMBER


class CommentedFile:
    """One proto file.

    Attributes:
        proto: What it declares.
    """

    def __init__(self, proto: FileDescriptorProto) -> None:
        self.proto = proto
        self._comments = {
            tuple(each.path): " ".join(each.leading_comments.split())
            for each in proto.source_code_info.location
        }

    def comment(self, *path: int) -> str:
        """What the source says of the member at a path; empty where it says nothing."""
        return self._comments.get(path, "")


def read_protos(root: Path) -> Iterator[CommentedFile]:
    """Read the project's protos, each after those that it rests on.

    Args:
        root: The repository.

    Raises:
        ConfigError: protoc refuses one.
    """
    files = [str(file.relative_to(root)) for file in sorted((root / "protos").rglob("*.proto"))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        flags = [f"--proto_path={root}", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *flags, *files]):
            raise ConfigError("protoc refuses the protos; its own words are above.")
        read = FileDescriptorSet.FromString(out.read_bytes())
    return (CommentedFile(each) for each in read.file)
