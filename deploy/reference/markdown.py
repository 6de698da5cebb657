"""Protos as tables in Markdown."""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    ServiceDescriptorProto,
)

from deploy.reference.comments import ENUM, MESSAGE, SERVICE, CommentedFile

FIELD = DescriptorProto.FIELD_FIELD_NUMBER
VALUE = EnumDescriptorProto.VALUE_FIELD_NUMBER
METHOD = ServiceDescriptorProto.METHOD_FIELD_NUMBER
REPEATED = FieldDescriptorProto.LABEL_REPEATED


def file_lines(file: CommentedFile) -> Iterator[str]:
    """Services, then messages, then enums of one file."""
    for index, service in enumerate(file.proto.service):
        yield from _service(file, index, service)
    for index, message in enumerate(file.proto.message_type):
        yield from _message(file, index, message)
    for index, enum in enumerate(file.proto.enum_type):
        yield from _enum(file, index, enum)


def _service(file: CommentedFile, index: int, service: ServiceDescriptorProto) -> Iterator[str]:
    yield from _head(service.name, file.comment(SERVICE, index))
    yield "| call | takes | answers | what it does |"
    yield "|---|---|---|---|"
    for number, method in enumerate(service.method):
        takes = _stream(method.client_streaming) + _link(method.input_type)
        answers = _stream(method.server_streaming) + _link(method.output_type)
        says = _cell(file.comment(SERVICE, index, METHOD, number))
        yield f"| `{method.name}` | {takes} | {answers} | {says} |"
    yield ""


def _message(file: CommentedFile, index: int, message: DescriptorProto) -> Iterator[str]:
    yield from _head(message.name, file.comment(MESSAGE, index))
    if not message.field:
        return
    yield "| field | number | type | what it is |"
    yield "|---|---|---|---|"
    for number, field in enumerate(message.field):
        says = _cell(file.comment(MESSAGE, index, FIELD, number))
        kind = _kind(message, field)
        yield f"| `{field.name}` | {field.number} | {kind} | {says} |"
    yield ""


def _enum(file: CommentedFile, index: int, enum: EnumDescriptorProto) -> Iterator[str]:
    yield from _head(enum.name, file.comment(ENUM, index))
    yield "| value | number | what it says |"
    yield "|---|---|---|"
    for number, value in enumerate(enum.value):
        says = _cell(file.comment(ENUM, index, VALUE, number))
        yield f"| `{value.name}` | {value.number} | {says} |"
    yield ""


def _head(name: str, comment: str) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if comment:
        yield comment
        yield ""


def _kind(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    entry = _entry(message, field)
    if entry is not None:
        key, value = entry.field
        return f"map of {_plain(key)} to {_plain(value)}"
    if field.label == REPEATED:
        return f"repeated {_plain(field)}"
    if field.proto3_optional:
        return f"optional {_plain(field)}"
    if field.HasField("oneof_index"):
        return f"{_plain(field)}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return _plain(field)


def _entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """What a map is made of; None where the field is no map."""
    name = field.type_name.rpartition(".")[2]
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    return maps.get(name)


def _plain(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    if not type_name.startswith(".dvd."):
        return f"`{type_name.removeprefix('.')}`"
    return f"[{name}](#{name.lower()})"


def _stream(is_streamed: bool) -> str:
    return "stream of " if is_streamed else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
