"""The unmodified `openai` client, used in the ways that people use it, on a whole cluster.

Answers are compared with those of the gRPC door: greedy, in float32, so equal to the letter.
"""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from protos.dvd.v1 import inference_pb2
from tests.fakes import until
from tests.integration.idle import held, wait_until_idle
from tests.integration.openai_requests import (
    GREEDY,
    MAX_TOKENS,
    ONE,
    SEVERAL,
    TEXT,
    TURNS,
    base_url,
    by_grpc,
    messages,
    picture,
    text_of,
)
from tests.local_cluster import LocalCluster
from tests.reference.conversation import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_models_are_listed_and_found_by_name(client: AsyncOpenAI) -> None:
    (listed,) = (await client.models.list()).data
    assert listed.id == "tiny"
    assert (await client.models.retrieve("tiny")).id == "tiny"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt")


@pytest.mark.parametrize(
    "said", [TEXT, ONE, SEVERAL, TURNS], ids=["text", "picture", "several", "turns"]
)
async def test_answers_are_those_of_the_grpc_door(
    cluster: LocalCluster, client: AsyncOpenAI, said: tuple[Message, ...]
) -> None:
    expected = await by_grpc(cluster, said)
    whole = await client.chat.completions.create(messages=messages(*said), **GREEDY)
    assert whole.choices[0].message.content == expected.text
    usage, told = whole.usage, expected.finished.usage
    assert usage.prompt_tokens == told.text_tokens + told.visual_tokens
    assert usage.completion_tokens == told.completion_tokens == len(expected.token_ids)
    for name in ("visual_tokens", "visual_tokens_before_resolution", "tiles", "compressed_tiles"):
        assert usage.model_extra[name] == getattr(told, name)
    pieces = await client.chat.completions.create(
        messages=messages(*said), stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = [chunk async for chunk in pieces]
    assert text_of(chunks) == expected.text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == told.completion_tokens


async def test_what_vir_saved_is_told(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(messages=messages(*ONE), **GREEDY)
    saved = whole.usage.model_extra
    assert saved["compressed_tiles"] > 0
    assert saved["visual_tokens"] < saved["visual_tokens_before_resolution"]
    off = await client.chat.completions.create(
        messages=messages(*ONE), extra_body={"resolution_scope": "off"}, **GREEDY
    )
    assert off.usage.model_extra["compressed_tiles"] == 0


async def test_the_streaming_helper(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    text = (await by_grpc(cluster, ONE)).text
    # It takes an answer that was cut off at its limit for a failure.
    asked = {**GREEDY, "messages": messages(*ONE), "stop": text[-1]}
    async with client.chat.completions.stream(**asked) as stream:
        pieces = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    expected = text[: text.index(text[-1])]
    assert "".join(pieces) == final.choices[0].message.content == expected


async def test_an_answer_is_given_back_as_it_came(client: AsyncOpenAI) -> None:
    said: list[Any] = messages(*TEXT)
    first = await client.chat.completions.create(messages=said, **GREEDY)
    said += [first.choices[0].message, {"role": "user", "content": "Go on."}]
    assert (await client.chat.completions.create(messages=said, **GREEDY)).choices


async def test_bare_text_is_continued(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    part = inference_pb2.Part(text="Once upon a time")
    bare = inference_pb2.Message(role=inference_pb2.ROLE_NOBODY, parts=[part])
    sampling = inference_pb2.SamplingParameters(max_tokens=MAX_TOKENS, temperature=0.0)
    request = inference_pb2.GenerateRequest(messages=[bare], sampling=sampling)
    expected = await cluster.client.answer(request)
    whole = await client.completions.create(prompt="Once upon a time", logprobs=1, **GREEDY)
    pieces = await client.completions.create(prompt=["Once upon a time"], stream=True, **GREEDY)
    streamed = "".join([piece.choices[0].text async for piece in pieces])
    assert whole.choices[0].text == streamed == expected.text
    assert whole.usage.prompt_tokens == expected.finished.usage.text_tokens


async def test_several_prompts_are_answered_in_order(client: AsyncOpenAI) -> None:
    prompts = ["Once upon a time", "The sea"]
    alone = [
        (await client.completions.create(prompt=prompt, **GREEDY)).choices[0].text
        for prompt in prompts
    ]
    both = await client.completions.create(prompt=prompts, **GREEDY)
    assert [(choice.index, choice.text) for choice in both.choices] == list(enumerate(alone))
    streamed = ["", ""]
    async for piece in await client.completions.create(prompt=prompts, stream=True, **GREEDY):
        streamed[piece.choices[0].index] += piece.choices[0].text
    assert streamed == alone


async def test_raw_responses_and_a_request_id(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        messages=messages(*TEXT), extra_headers={"X-Request-Id": "mine-1"}, **GREEDY
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.parse().id == "chatcmpl-mine-1"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [picture(b"no picture")]}]},
         "messages[0].content[0].image_url"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"temperature": 3}, "temperature"),
        ({"extra_body": {"guided_json": {}}}, "guided_json"),
    ],
    ids=["picture", "url", "tools", "format", "temperature", "unknown"],
)  # fmt: skip
async def test_what_cannot_be_done_is_a_400_that_names_the_field(
    client: AsyncOpenAI, fields: dict[str, Any], param: str, stream: bool
) -> None:
    asked = {"model": "tiny", "messages": messages(*TEXT), "stream": stream, **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**asked)
    assert caught.value.param == param


async def test_another_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="gpt", messages=messages(*TEXT))


async def test_many_at_a_time(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    expected = (await by_grpc(cluster, ONE)).text
    answers = await asyncio.gather(
        *(client.chat.completions.create(messages=messages(*ONE), **GREEDY) for _ in range(8))
    )
    assert {answer.choices[0].message.content for answer in answers} == {expected}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_loses_patience_leaves_nothing_running(
    cluster: LocalCluster, client: AsyncOpenAI, stream: bool
) -> None:
    long = {"messages": messages(*TEXT), "max_tokens": 2000, "model": "tiny", "stream": stream}
    asking = asyncio.create_task(
        client.chat.completions.create(**long, extra_body={"ignore_eos": True})
    )
    await until(lambda: held(cluster)["running sequences"] > 0)
    if stream:
        pieces = await asking
        async for _ in pieces:
            break
        await pieces.close()
    else:
        asking.cancel()
    await wait_until_idle(cluster)


async def test_a_deadline_is_kept(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(
            messages=messages(*TEXT),
            model="tiny",
            max_tokens=2000,
            extra_body={"ignore_eos": True},
            extra_headers={"X-Dvd-Deadline-Seconds": "0.2"},
        )
    assert caught.value.status_code == 504
    await wait_until_idle(cluster)


async def test_the_synchronous_client(cluster: LocalCluster) -> None:
    expected = (await by_grpc(cluster, ONE)).text

    def use() -> list[str | None]:
        with OpenAI(api_key="unused", base_url=base_url(cluster), max_retries=0) as client:
            model = client.models.list().data[0].id
            asked: dict[str, Any] = {**GREEDY, "model": model, "messages": messages(*ONE)}
            whole = client.chat.completions.create(**asked)
            chunks = list(client.chat.completions.create(**asked, stream=True))
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**asked, extra_body={"nonsense": 1})
            bare = client.completions.create(model=model, prompt="Once", max_tokens=1)
            assert bare.choices[0].finish_reason in ("length", "stop")
            return [whole.choices[0].message.content, text_of(chunks)]

    assert await asyncio.to_thread(use) == [expected] * 2
