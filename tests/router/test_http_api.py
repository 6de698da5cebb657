"""The HTTP door over loopback: documents, events, refusals, and nothing left behind."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import pytest

from common.errors import (
    DeadlineExpiredError,
    InvalidImageError,
    OverloadedError,
    UnavailableError,
)
from common.types import ChoiceEnd, FinishReason
from router.answer import TokenLogprob, TokenLogprobs
from router.language_client import AnswerDelta
from tests.fakes import until
from tests.router.front import DELTA, FINISHED, STARTED
from tests.router.http_door import http_door

LOGPROBS = TokenLogprobs(TokenLogprob(4, "é", -0.5), (TokenLogprob(4, "é", -0.5),))
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 6,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 7, "text_tokens": 1, "image_tokens": 2},
    "visual_tokens": 2,
    "visual_tokens_before_resolution": 3,
    "tiles": 4,
    "compressed_tiles": 5,
    "stage_seconds": {
        "queue": 0.5,
        "preprocess": 1.5,
        "vit": 2.5,
        "gate": 3.5,
        "project": 4.5,
        "transfer": 5.5,
        "prefill": 6.5,
        "decode": 7.5,
        "time_to_first_token": 8.5,
        "total": 9.5,
    },
}


def events_of(response: httpx.Response) -> list[Any]:
    """What a stream has told, without its end."""
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


async def test_a_whole_answer_is_one_document() -> None:
    async with http_door() as door:
        response = await door.chat(headers={"X-Request-Id": "mine"})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "mine"
    assert (answer["id"], answer["object"]) == ("chatcmpl-mine", "chat.completion")
    assert (answer["model"], answer["system_fingerprint"]) == ("tiny", "fingerprint")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "ab", "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert answer["usage"] == USAGE


async def test_a_stream_begins_with_who_speaks_and_ends_with_why_it_ends() -> None:
    text = AnswerDelta((1,), 'say "\n\u00e9\U0001f600\0"')
    async with http_door(STARTED, text, FINISHED) as door:
        response = await door.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    opening, delta, end = events_of(response)
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert delta["choices"][0]["delta"] == {"content": text.text}
    assert end["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "length",
    }  # fmt: skip
    assert {each["object"] for each in (opening, delta, end)} == {"chat.completion.chunk"}
    assert "usage" not in end


async def test_usage_comes_last_and_only_where_asked_for() -> None:
    async with http_door() as door:
        response = await door.chat(stream=True, stream_options={"include_usage": True})
    *before, last = events_of(response)
    assert [each["usage"] for each in before] == [None] * len(before)
    assert (last["choices"], last["usage"]) == ([], USAGE)


async def test_several_answers_and_log_probabilities_are_told_apart() -> None:
    ends = (ChoiceEnd(FinishReason.STOP, 1), ChoiceEnd(FinishReason.LENGTH, 2))
    deltas = (AnswerDelta((4,), "é", (LOGPROBS,), 1), AnswerDelta((5,), "b"))
    script = (STARTED, *deltas, replace(FINISHED, choices=ends))
    async with http_door(*script) as door:
        whole = (await door.chat(n=2, logprobs=True, top_logprobs=1)).json()["choices"]
        streamed = events_of(await door.chat(n=2, logprobs=True, top_logprobs=1, stream=True))
    told = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    content = [{**told, "top_logprobs": [told]}]
    assert [each["message"]["content"] for each in whole] == ["b", "é"]
    assert [each["finish_reason"] for each in whole] == ["stop", "length"]
    assert whole[1]["logprobs"]["content"] == content
    pieces = [each["choices"][0] for each in streamed]
    assert [piece["index"] for piece in pieces] == [0, 1, 1, 0, 0, 1]
    assert pieces[2]["logprobs"]["content"] == content
    assert [piece["finish_reason"] for piece in pieces[4:]] == ["stop", "length"]


async def test_of_several_answers_each_end_is_told_when_it_comes() -> None:
    ends = (ChoiceEnd(FinishReason.STOP, 1), ChoiceEnd(FinishReason.LENGTH, 2))
    first = AnswerDelta((1,), "a", end=ends[0])
    script = (STARTED, first, AnswerDelta((2,), "b", choice=1), replace(FINISHED, choices=ends))
    async with http_door(*script) as door:
        streamed = events_of(await door.chat(n=2, stream=True))
    pieces = [(each["choices"][0]["index"], each["choices"][0]["finish_reason"])
              for each in streamed[2:]]  # fmt: skip
    assert pieces == [(0, None), (0, "stop"), (1, None), (1, "length")]


async def test_bare_text_is_continued() -> None:
    script = (STARTED, AnswerDelta((4,), "é", (LOGPROBS,)), FINISHED)
    async with http_door(*script) as door:
        body = {"prompt": ["Once upon"], "logprobs": 1}
        whole = (await door.client.post("/v1/completions", json=body)).json()
        streamed = await door.client.post("/v1/completions", json={**body, "stream": True})
        (asked, _), _ = door.pipeline.asked
    assert whole["object"] == "text_completion"
    assert whole["id"].startswith("cmpl-")
    (choice,) = whole["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("é", "length")
    assert choice["logprobs"]["token_logprobs"] == [-0.5]
    assert choice["logprobs"]["top_logprobs"] == [{"é": -0.5}]
    first, last = events_of(streamed)
    assert (first["choices"][0]["text"], last["choices"][0]["text"]) == ("é", "")
    assert asked.sampling.max_tokens == 16
    assert asked.messages[0].role == "nobody"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind", "param"),
    [
        (InvalidImageError("Bad.", "messages[0].parts[1].image"), 400, "invalid_request_error",
         "messages[0].content[1].image_url"),
        (OverloadedError("Full.", 2.2), 429, "rate_limit_error", None),
        (UnavailableError("Lost."), 503, "server_error", None),
        (DeadlineExpiredError("Late."), 504, "server_error", None),
        (KeyError("surprise"), 500, "server_error", None),
    ],
)  # fmt: skip
async def test_before_the_first_token_an_error_is_a_status(
    stream: bool, error: Exception, status: int, kind: str, param: str | None
) -> None:
    async with http_door(STARTED, error) as door:
        response = await door.chat(stream=stream, headers={"X-Request-Id": "mine"})
    told = response.json()["error"]
    assert (response.status_code, told["type"], told["param"]) == (status, kind, param)
    assert "surprise" not in response.text
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)
    assert response.headers.get("x-request-id") == (None if status == 500 else "mine")


@pytest.mark.parametrize("error", [UnavailableError("Lost."), KeyError("surprise")])
async def test_after_the_first_token_an_error_is_the_last_event(error: Exception) -> None:
    async with http_door(STARTED, DELTA, error) as door:
        response = await door.chat(stream=True)
    assert response.status_code == 200
    *_, last, end = response.text.split("\n\n")
    assert end == ""
    told = json.loads(last.removeprefix("data: "))["error"]
    expected = "Lost." if isinstance(error, UnavailableError) else "Internal error."
    assert told["message"] == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_leaves_nothing_open(stream: bool) -> None:
    async with http_door(STARTED, asyncio.Event()) as door:
        asking = asyncio.create_task(door.chat(stream=stream))
        await until(lambda: door.pipeline.num_open == 1)
        asking.cancel()
        await until(lambda: door.pipeline.num_open == 0)
        await until(lambda: door.num_requests("CANCELLED") == 1)


async def test_a_client_that_goes_away_mid_stream_leaves_nothing_open() -> None:
    async with http_door(STARTED, DELTA, asyncio.Event()) as door:
        body = {"messages": [{"role": "user", "content": "Hello?"}], "stream": True}
        async with door.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert "data: " in await anext(response.aiter_text())
            assert door.pipeline.num_open == 1
        await until(lambda: door.pipeline.num_open == 0)


async def test_tenant_and_deadline_come_in_headers() -> None:
    headers = {"X-Dvd-Tenant": "acme", "X-Dvd-Deadline-Seconds": "7"}
    async with http_door() as door:
        await door.chat(headers=headers)
        ((request, deadline),) = door.pipeline.asked
        late = await door.chat(headers={"X-Dvd-Deadline-Seconds": "0"})
        wrong = await door.chat(headers={"X-Dvd-Deadline-Seconds": "soon"})
    assert request.tenant == "acme"
    assert deadline.remaining() == pytest.approx(7, abs=3)
    assert late.status_code == 504
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-dvd-deadline-seconds")


async def test_what_cannot_be_read_is_counted_too() -> None:
    async with http_door(max_request_bytes=300) as door:
        assert (await door.chat(tools=[{}])).status_code == 400
        assert (await door.chat(user="x" * 500)).status_code == 413
        assert (await door.chat(temperature=9)).status_code == 400
        assert door.num_requests("INVALID_ARGUMENT") == 3


async def test_the_model_health_version_and_metrics_are_told() -> None:
    async with http_door() as door:
        listed = (await door.client.get("/v1/models")).json()
        one = (await door.client.get("/v1/models/tiny")).json()
        other = await door.client.get("/v1/models/org/other")
        health = await door.client.get("/health")
        version = (await door.client.get("/version")).json()
        metrics = (await door.client.get("/metrics")).text
        path = await door.client.get("/v2/models")
        method = await door.client.get("/v1/chat/completions")
    assert listed["data"] == [one]
    assert (one["id"], one["max_model_len"]) == ("tiny", 400)
    assert (other.status_code, other.json()["error"]["type"]) == (404, "not_found_error")
    assert (health.status_code, version) == (200, {"version": "1.2.3"})
    assert "dvd_requests_total" in metrics
    assert (path.status_code, method.status_code) == (404, 405)
    assert "/v2/models" in path.json()["error"]["message"]


async def test_without_replicas_it_is_not_healthy() -> None:
    async with http_door(is_ready=False) as door:
        assert (await door.client.get("/health")).status_code == 503


async def test_an_answer_ends_within_the_grace_and_nothing_new_begins() -> None:
    go_on = asyncio.Event()
    async with http_door(STARTED, go_on, DELTA, FINISHED) as door:
        asking = asyncio.create_task(door.chat())
        await until(lambda: door.pipeline.num_open == 1)
        stopping = asyncio.create_task(door.server.stop())

        await until(lambda: not door.is_listening())
        with pytest.raises(httpx.ConnectError):
            await door.client.get("/health")
        go_on.set()
        assert (await asking).json()["choices"][0]["message"]["content"] == "ab"
        await stopping


async def test_what_runs_beyond_the_grace_is_cut_off() -> None:
    async with http_door(STARTED, DELTA, asyncio.Event()) as door:
        asking = asyncio.create_task(door.chat())
        await until(lambda: door.pipeline.num_open == 1)
        await door.server.stop()
        assert door.pipeline.num_open == 0
        assert (await asking).status_code == 503
