"""From JSON to the wire: every field has its place, and what has none is refused by its name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequestError
from protos.dvd.v1 import inference_pb2
from router.openai_error import param_of
from router.openai_request import chat_request, read_body, text_request
from router.openai_shapes import ChatRequest, TextRequest

HELLO = [{"role": "user", "content": "Hello?"}]
URL = "data:image/png;base64,aGk="


def chat(**fields: Any) -> inference_pb2.GenerateRequest:
    body = json.dumps({"messages": HELLO, **fields}).encode()
    (request,) = chat_request(read_body(ChatRequest, body), "r1")
    return request


def text(**fields: Any) -> inference_pb2.GenerateRequest:
    (request,) = text_request(read_body(TextRequest, json.dumps(fields).encode()), "r1")
    return request


def refusal(shape: Any, body: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read_body(shape, body)
    return caught.value


def test_what_is_not_said_is_left_open() -> None:
    part = inference_pb2.Part(text="Hello?")
    assert chat() == inference_pb2.GenerateRequest(
        request_id="r1",
        messages=[inference_pb2.Message(role=inference_pb2.ROLE_USER, parts=[part])],
        sampling=inference_pb2.SamplingParameters(),
    )


@pytest.mark.parametrize(
    ("given_fields", "meant"),
    [
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_tokens": 3, "max_completion_tokens": 4}, {"max_tokens": 4}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"seed": 7, "top_p": 0.5, "min_p": 0.25}, {"seed": 7, "top_p": 0.5, "min_p": 0.25}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop_token_ids": [1, 2]}, {"stop_token_ids": [1, 2]}),
        ({"ignore_eos": True}, {"ignore_eos": True}),
        ({"logit_bias": {"4": -1}}, {"logit_bias": {4: -1.0}}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1.0,
          "frequency_penalty": -1.0}),
        ({"repetition_penalty": 1.5}, {"repetition_penalty": 1.5}),
        ({"logprobs": True}, {"logprobs": 0}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}),
        ({"logprobs": False}, {}),
        ({"n": 2}, {"n": 2}),
    ],
)  # fmt: skip
def test_sampling(given_fields: dict[str, Any], meant: dict[str, Any]) -> None:
    assert chat(**given_fields).sampling == inference_pb2.SamplingParameters(**meant)


def test_resolution_priority_and_model() -> None:
    wire = chat(
        model="m",
        priority=-3,
        resolution_scope="image",
        resolution_relative_threshold=0.25,
        resolution_absolute_threshold=0.5,
    )
    assert (wire.model, wire.priority) == ("m", -3)
    assert wire.resolution_scope == inference_pb2.RESOLUTION_SCOPE_IMAGE
    assert wire.resolution_relative_threshold == 0.25
    assert wire.resolution_absolute_threshold == 0.5


def test_turns_and_pictures_keep_their_order() -> None:
    picture = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    said = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, picture,
                                     {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": None, "tool_calls": [], "audio": None},
        {"role": "user", "content": "d", "name": "me"},
    ]  # fmt: skip
    wire = chat(messages=said)
    assert [message.role for message in wire.messages] == [1, 2, 3, 2]
    assert [part.WhichOneof("part") for part in wire.messages[1].parts] == ["text", "image", "text"]
    image = wire.messages[1].parts[1].image
    assert (image.data, image.mime_type) == (b"hi", "image/png")
    assert (image.detail, image.HasField("max_tiles")) == (inference_pb2.IMAGE_DETAIL_LOW, False)


@pytest.mark.parametrize(
    "nothing",
    [{"tools": None}, {"tools": []}, {"tool_choice": "none"}, {"store": False}, {"user": "me"},
     {"response_format": {"type": "text"}}, {"modalities": ["text"]}, {"temperature": None},
     {"stream": None}, {"service_tier": "auto"}, {"unheard_of": None}],
)  # fmt: skip
def test_what_asks_for_nothing_may_stand(nothing: dict[str, Any]) -> None:
    assert chat(**nothing) == chat()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{}]}, "tools"),
        ({"guided_json": {}}, "guided_json"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": "3"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop[0]"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": URL}]}]},
         "messages[0].content[0].image_url"),
        ({"mm_processor_kwargs": {"min_pixels": 1}}, "mm_processor_kwargs.min_pixels"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    error = refusal(ChatRequest, json.dumps({"messages": HELLO, **fields}).encode())
    assert error.field == param
    assert error.message.startswith(param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"x"', b"\xff", b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(ChatRequest, body).field == ""


@given(body=st.binary(max_size=64) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["messages", "role", "content", "stop", "n"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    for shape in (ChatRequest, TextRequest):
        try:
            read_body(shape, body)
        except InvalidRequestError as error:
            assert error.message  # noqa: PT017


def test_bare_text() -> None:
    wire = text(prompt=["Once"], logprobs=2, stop="x")
    (message,) = wire.messages
    assert (message.role, message.parts[0].text) == (inference_pb2.ROLE_NOBODY, "Once")
    assert (wire.sampling.max_tokens, wire.sampling.logprobs) == (16, 2)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
    ],
)
def test_what_bare_text_cannot_have(fields: dict[str, Any], param: str) -> None:
    assert refusal(TextRequest, json.dumps(fields).encode()).field.startswith(param)


def test_several_bare_prompts_are_several_requests() -> None:
    body = json.dumps({"prompt": ["a", "b"], "max_tokens": 3}).encode()
    wires = text_request(read_body(TextRequest, body), "r1")
    assert [wire.request_id for wire in wires] == ["r1-0", "r1-1"]
    assert [wire.messages[0].parts[0].text for wire in wires] == ["a", "b"]
    assert [wire.sampling.max_tokens for wire in wires] == [3, 3]


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("sampling.temperature", "temperature"),
        ("sampling.logit_bias[4]", "logit_bias[4]"),
        ("sampling.logprobs", "top_logprobs"),
        ("messages[1].parts[0].image", "messages[1].content[0].image_url"),
        ("messages[1].parts[0].image.max_tiles", "messages[1].content[0].image_url.max_tiles"),
        ("messages[1].role", "messages[1].role"),
        ("x-dvd-tenant", "x-dvd-tenant"),
        ("", ""),
    ],
)
def test_fields_of_the_wire_have_their_names_in_json(field: str, param: str) -> None:
    assert param_of(field) == param
