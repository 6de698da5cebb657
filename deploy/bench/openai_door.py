"""The OpenAI-compatible HTTP door, for a load; any server of that kind answers.

Times are those of the server-sent events: one with text counts as one token, because they do not
tell how many it brings, and a token without text brings none. The tokens of a whole answer are the
server's count, and rates over time share these out; times between tokens are between events.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import aiohttp

from common import errors
from common.errors import DeadlineExpiredError, DvdError, OverloadedError, UnreachableError
from deploy.bench.door import Delta, Ended, Question, Said, StageSeconds, TokenUse

JsonObject = dict[str, Any]
EVENT = b"data: "
END = b"[DONE]"
MAX_LINE_BYTES = 8 << 20


def _by_status() -> dict[int, type[DvdError]]:
    """The most general error of each HTTP status."""
    found: dict[int, type[DvdError]] = {}
    for member in vars(errors).values():
        if isinstance(member, type) and issubclass(member, DvdError):
            found.setdefault(member.http_status, member)
    return found


BY_STATUS = _by_status()


class OpenAiDoor:
    """Asks a server over HTTP.

    Args:
        server: Its `host:port` or `http://host:port`, with or without `/v1`.
        api_key: Shown to it; empty for none.

    Attributes:
        num_retries: Always 0: nothing is asked again.
    """

    num_retries = 0

    def __init__(self, server: str, api_key: str = "") -> None:
        base = server if "://" in server else f"http://{server}"
        self._base = base.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._opened: aiohttp.ClientSession | None = None
        self._model = ""

    async def model_name(self) -> str:
        """Ask what is served; the first of several is asked from then on."""
        try:
            async with self._session().get(f"{self._base}/v1/models") as response:
                await _check(response)
                listed = await response.json()
        except aiohttp.ClientError as cause:
            raise UnreachableError(f"No server answers at {self._base}.") from cause
        self._model = listed["data"][0]["id"]
        return self._model

    async def ask(self, question: Question) -> AsyncIterator[Delta | Ended]:
        """Answer a request."""
        try:
            async with (
                asyncio.timeout(question.timeout_seconds),
                self._session().post(
                    f"{self._base}/v1/chat/completions", json=self._body(question)
                ) as response,
            ):
                await _check(response)
                async for line in response.content:
                    if line.startswith(EVENT) and (data := line[len(EVENT) :].strip()) != END:
                        for event in _events(json.loads(data)):
                            yield event
        except TimeoutError as cause:
            raise DeadlineExpiredError("The deadline passed.") from cause
        except aiohttp.ClientError as cause:
            raise UnreachableError("The connection to the server failed.") from cause

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()

    def _session(self) -> aiohttp.ClientSession:
        """Opened late, because it belongs to the loop that runs."""
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=MAX_LINE_BYTES,
            )
        return self._opened

    def _body(self, question: Question) -> JsonObject:
        body = {
            "model": self._model,
            "messages": [_message(said) for said in question.messages],
            "max_completion_tokens": question.max_tokens,
            "temperature": question.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # Not OpenAI's own, so that it is sent only where it means something.
        return body | ({"ignore_eos": True} if question.ignore_eos else {})


def _message(said: Said) -> JsonObject:
    parts: list[JsonObject] = [
        {"type": "image_url", "image_url": {"url": _data_uri(picture.mime_type, picture.data)}}
        for picture in said.pictures
    ]
    if not parts:
        return {"role": str(said.role), "content": said.text}
    parts.append({"type": "text", "text": said.text})
    return {"role": str(said.role), "content": parts}


def _data_uri(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise the error that a refusal stands for."""
    if response.status >= 400:
        raise _error(response.status)


def _error(status: int) -> DvdError:
    kind = BY_STATUS.get(status, DvdError)
    if issubclass(kind, OverloadedError):
        return OverloadedError("The server is busy.")
    return kind(f"The server answered with status {status}.")


def _events(chunk: JsonObject) -> list[Delta | Ended]:
    """What one event of a stream brings.

    Raises:
        DvdError: The server broke the answer off.
    """
    if "error" in chunk:
        code = chunk["error"].get("code")
        raise _error(code if isinstance(code, int) else 500)
    events: list[Delta | Ended] = []
    for choice in chunk.get("choices", ()):
        text = choice.get("delta", {}).get("content") or ""
        if text:
            events.append(Delta(text, 1))
    if chunk.get("usage"):
        events.append(Ended(_use(chunk["usage"]), _stages(chunk["usage"])))
    return events


def _use(usage: JsonObject) -> TokenUse:
    """Usage; what only our door tells is 0 elsewhere."""
    details = usage.get("prompt_tokens_details") or {}
    visual_tokens = details.get("image_tokens") or 0
    return TokenUse(
        text_tokens=usage["prompt_tokens"] - visual_tokens,
        visual_tokens=visual_tokens,
        visual_tokens_before=usage.get("visual_tokens_before_resolution", visual_tokens),
        tiles=usage.get("tiles", 0),
        compressed_tiles=usage.get("compressed_tiles", 0),
        cached_tokens=details.get("cached_tokens") or 0,
        output_tokens=usage["completion_tokens"],
    )


def _stages(usage: JsonObject) -> StageSeconds | None:
    """Where the time went; None of a server that does not tell."""
    told = usage.get("stage_seconds")
    if not isinstance(told, dict):
        return None
    names = [each.name for each in fields(StageSeconds)]
    return StageSeconds(**{name: float(told.get(name, 0)) for name in names})
