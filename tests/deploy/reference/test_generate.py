"""The API reference is what the protos say, and they say something of everything."""

import re

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from common import errors
from common.errors import DvdError
from deploy.reference.comments import CommentedFile, read_protos
from deploy.reference.generate import API_FILE, ROOT, TITLES, api_reference
from deploy.reference.markdown import file_lines


@pytest.fixture(scope="module")
def written() -> str:
    return api_reference(ROOT)


def test_it_is_written_anew_after_every_change(written: str) -> None:
    assert API_FILE.read_text(encoding="utf-8") == written, (
        "run python -m deploy.reference.generate"
    )


def test_every_member_is_explained(written: str) -> None:
    rows = [line for line in written.splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_file_has_a_title_and_every_link_leads_somewhere(written: str) -> None:
    assert {file.proto.name.split("/")[-1] for file in read_protos(ROOT)} == {
        f"{name}.proto" for name in TITLES
    }
    heads = {line[4:].lower() for line in written.splitlines() if line.startswith("### ")}
    assert set(re.findall(r"\(#(\w+)\)", written)) <= heads


def test_errors_stand_with_their_codes(written: str) -> None:
    assert "| `OverloadedError` | `RESOURCE_EXHAUSTED` | 429 |" in written
    known = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    told = [
        kind for kind in known if issubclass(kind, DvdError) and f"`{kind.__name__}`" in written
    ]
    assert len(told) > 10
    assert errors.ConfigError not in told


def test_a_map_an_optional_field_and_a_choice_are_told_apart(written: str) -> None:
    assert "| `logit_bias` | 12 | map of uint32 to float |" in written
    assert "optional uint32" in written
    assert ", one of `event`" in written


def test_what_has_no_comment_has_an_empty_cell() -> None:
    proto = FileDescriptorProto()
    proto.message_type.add(name="Bare").field.add(name="size", number=1, type=13)
    lines = list(file_lines(CommentedFile(proto)))
    assert lines[0] == "### Bare"
    assert "| `size` | 1 | uint32 |  |" in lines
