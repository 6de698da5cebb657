"""What do the doors of a router cost: time added to an answer, tokens that they can stream.

    python -m benchmarks.doors --json doors.json

One router process with both doors stands before a pipeline that answers from memory
(`benchmarks/null_router.py`); this process is its clients, over loopback. Added time is that of a
whole answer of a few tokens through a door, one request at a time, less a call of the pipeline
alone. For the stream, 64 answers run at once, each token falling due at a fixed rate as from a
language replica; tokens that wait for the one before may share its successor's message. The rows
tell how many did, and how much of the machine this process itself took.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.null_router import TOKEN, TOKENS_PER_SECOND_AND_PRIORITY, NullReady, request_of
from common.result import Goal, Result
from common.rpc import open_channel
from protos.dvd.v1 import inference_pb2_grpc

NUM_STREAMS = 64
ANSWER_TOKENS = 16
PRIORITY = 30
NUM_WARM_UP = 50


@dataclass(slots=True)
class Streamed:
    """What clients have seen.

    Attributes:
        tokens: Of all answers.
        messages: That brought them.
    """

    tokens: int = 0
    messages: int = 0


Ask = Callable[[int, int, Streamed], Awaitable[None]]


@asynccontextmanager
async def null_router() -> AsyncIterator[NullReady]:
    """Run the router process for the length of the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.null_router",
        str(ANSWER_TOKENS),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    yield NullReady.model_validate_json(await process.stdout.readline())
    process.stdin.close()
    await process.wait()


@asynccontextmanager
async def by_grpc(address: str) -> AsyncIterator[Ask]:
    """Ask at the gRPC door."""
    async with open_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)

        async def ask(num_tokens: int, priority: int, seen: Streamed) -> None:
            async for event in stub.Generate(request_of(num_tokens, priority)):
                if event.delta.token_ids:
                    seen.tokens += len(event.delta.token_ids)
                    seen.messages += 1

        yield ask


@asynccontextmanager
async def by_http(address: str) -> AsyncIterator[Ask]:
    """Ask at the HTTP door, as a stream of events."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(num_tokens: int, priority: int, seen: Streamed) -> None:
            body = {
                "messages": [{"role": "user", "content": "Hello?"}],
                "max_tokens": num_tokens,
                "priority": priority,
                "stream": True,
            }
            url = f"http://{address}/v1/chat/completions"
            async with session.post(url, json=body) as response:
                response.raise_for_status()
                async for line in response.content:
                    if num := line.count(TOKEN.encode()):
                        seen.tokens += num
                        seen.messages += 1

        yield ask


async def answer_times_ms(ask: Ask, number: int) -> list[float]:
    """Ask for short answers one after the other."""
    times = []
    for index in range(NUM_WARM_UP + number):
        began = time.perf_counter()
        await ask(ANSWER_TOKENS, 0, Streamed())
        if index >= NUM_WARM_UP:
            times.append((time.perf_counter() - began) * 1000)
    return times


async def stream_rate(ask: Ask, seconds: float, door: str, result: Result) -> float:
    """Stream many answers at once for about so long; tokens a second."""
    per_stream = PRIORITY * TOKENS_PER_SECOND_AND_PRIORITY
    seen, began, cpu = Streamed(), time.perf_counter(), time.process_time()
    num_tokens = int(per_stream * seconds)
    await asyncio.gather(*(ask(num_tokens, PRIORITY, seen) for _ in range(NUM_STREAMS)))
    took = time.perf_counter() - began
    result.rows.append(
        {
            "door": door,
            "streams": NUM_STREAMS,
            "offered_tokens_per_second": NUM_STREAMS * per_stream,
            "tokens_per_second": seen.tokens / took,
            "tokens_per_message": seen.tokens / max(seen.messages, 1),
            "complete": seen.tokens == NUM_STREAMS * num_tokens,
            "client_cpu_share": (time.process_time() - cpu) / took,
        }
    )
    return seen.tokens / took


async def measure(arguments: argparse.Namespace, result: Result) -> None:
    """Let the doors take turns; fill in rows and goals."""
    times: dict[str, list[float]] = {"gRPC": [], "HTTP": []}
    rates: dict[str, list[float]] = {"gRPC": [], "HTTP": []}
    async with (
        null_router() as ready,
        by_grpc(ready.grpc_address) as grpc,
        by_http(ready.http_address) as http,
    ):
        doors = {"gRPC": grpc, "HTTP": http}
        for _ in range(arguments.repeat):
            for door, ask in doors.items():
                times[door] += await answer_times_ms(ask, arguments.requests)
        for _ in range(arguments.repeat):
            for door, ask in doors.items():
                rates[door].append(await stream_rate(ask, arguments.seconds, door, result))
    for door, target in (("gRPC", 2.0), ("HTTP", 5.0)):
        p50 = statistics.median(times[door])
        row = {"door": door, "answer_p50_ms": p50, "pipeline_alone_p50_ms": ready.direct_p50_ms}
        result.rows.append(row)
        added = p50 - ready.direct_p50_ms
        result.goals.append(Goal(f"added p50, {door}, ms", added, target, "lower"))
    result.goals.append(
        Goal(
            "streamed tokens/s through one router process, 64 streams "
            "(tokens already waiting may share a message)",
            min(statistics.median(each) for each in rates.values()),
            10_000,
            "higher",
        )
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="turns of both doors")
    parser.add_argument("--requests", type=int, default=300, help="answers of one turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the streams")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    asyncio.run(measure(arguments, result))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
