"""Every option of an OpenAI client's request does what the same one does at the gRPC door."""

from typing import Any

import pytest
from openai import AsyncOpenAI

from tests import pictures
from tests.integration.openai_requests import (
    GREEDY,
    TEXT,
    by_grpc,
    messages,
    picture,
    text_of,
)
from tests.local_cluster import LocalCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_ends_an_answer(client: AsyncOpenAI, field: str) -> None:
    limit: dict[str, Any] = {field: 3}
    whole = await client.chat.completions.create(
        model="tiny", messages=messages(*TEXT), temperature=0, **limit
    )
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (3, "length")


async def test_a_stop_text_ends_an_answer(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    text = (await by_grpc(cluster, TEXT)).text
    stop = text[len(text) // 2 :][:3]
    whole = await client.chat.completions.create(messages=messages(*TEXT), stop=stop, **GREEDY)
    assert whole.choices[0].message.content == text[: text.index(stop)]
    assert whole.choices[0].finish_reason == "stop"
    with_list = await client.chat.completions.create(
        messages=messages(*TEXT), stop=["never", stop], **GREEDY
    )
    assert with_list.choices[0].message.content == whole.choices[0].message.content


async def test_a_seed_repeats_a_draw(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    drawn = {**GREEDY, "temperature": 1, "seed": 7, "top_p": 0.9}
    texts = [
        (await client.chat.completions.create(messages=messages(*TEXT), **drawn))
        .choices[0].message.content
        for _ in range(2)
    ]  # fmt: skip
    fields = {"temperature": 1.0, "seed": 7, "top_p": 0.9}
    assert texts == [(await by_grpc(cluster, TEXT, **fields)).text] * 2


async def test_several_answers_to_one_prompt(client: AsyncOpenAI) -> None:
    drawn = {**GREEDY, "temperature": 1, "seed": 7, "n": 3}
    whole = await client.chat.completions.create(messages=messages(*TEXT), **drawn)
    pieces = await client.chat.completions.create(messages=messages(*TEXT), stream=True, **drawn)
    chunks = [chunk async for chunk in pieces]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert [text_of(chunks, index) for index in range(3)] == texts


async def test_log_probabilities(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        messages=messages(*TEXT), logprobs=True, top_logprobs=2, **GREEDY
    )
    told = whole.choices[0].logprobs
    assert len(told.content) == whole.usage.completion_tokens
    assert all(each.logprob == each.top_logprobs[0].logprob for each in told.content)
    assert all(len(each.top_logprobs) == 2 for each in told.content)


async def test_a_bias_forces_a_token(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    token_id = (await by_grpc(cluster, TEXT)).token_ids[-1]
    expected = await by_grpc(cluster, TEXT, logit_bias={token_id: 100.0})
    whole = await client.chat.completions.create(
        messages=messages(*TEXT), logit_bias={str(token_id): 100}, **GREEDY
    )
    assert whole.choices[0].message.content == expected.text
    assert set(expected.token_ids) == {token_id}


async def test_penalties(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    fields = {"presence_penalty": 1.5, "frequency_penalty": 0.5}
    expected = await by_grpc(cluster, TEXT, **fields, repetition_penalty=1.25)
    whole = await client.chat.completions.create(
        messages=messages(*TEXT), extra_body={"repetition_penalty": 1.25}, **fields, **GREEDY
    )
    assert whole.choices[0].message.content == expected.text


@pytest.mark.parametrize("extra", [{"top_k": 1}, {"min_p": 1.0}])
async def test_what_other_servers_have_too(
    cluster: LocalCluster, client: AsyncOpenAI, extra: dict[str, float]
) -> None:
    drawn = {**GREEDY, "temperature": 1}
    whole = await client.chat.completions.create(
        messages=messages(*TEXT), extra_body=extra, **drawn
    )
    assert whole.choices[0].message.content == (await by_grpc(cluster, TEXT)).text


async def test_ends_of_the_requests_own(cluster: LocalCluster, client: AsyncOpenAI) -> None:
    token_ids = (await by_grpc(cluster, TEXT)).token_ids
    extra = {"ignore_eos": True, "stop_token_ids": [token_ids[2]]}
    whole = await client.chat.completions.create(
        messages=messages(*TEXT), extra_body=extra, **GREEDY
    )
    expected = await by_grpc(cluster, TEXT, **extra)
    assert whole.choices[0].message.content == expected.text
    assert whole.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("options", "extra", "tiles"),
    [
        ({}, {}, 3),
        ({"detail": "low"}, {}, 1),
        ({"detail": "high"}, {"mm_processor_kwargs": {"max_dynamic_patch": 1}}, 3),
        ({"detail": "auto"}, {"mm_processor_kwargs": {"max_dynamic_patch": 1}}, 1),
        ({"max_dynamic_patch": 2}, {"mm_processor_kwargs": {"dynamic_image_size": False}}, 3),
        ({}, {"mm_processor_kwargs": {"dynamic_image_size": False}}, 1),
    ],
)
async def test_how_finely_a_picture_is_looked_at(
    client: AsyncOpenAI, options: dict[str, Any], extra: dict[str, Any], tiles: int
) -> None:
    said: Any = [{"role": "user", "content": [picture(WIDE, **options)]}]
    whole = await client.chat.completions.create(messages=said, extra_body=extra, **GREEDY)
    assert whole.usage.model_extra["tiles"] == tiles


WIDE = pictures.grid(2, 1)
