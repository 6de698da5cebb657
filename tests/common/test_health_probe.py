"""Health asks the engine itself, answers in time, and tells busy from broken."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.engine_thread import EngineThread
from common.health_client import is_serving
from common.health_probe import HealthProbe, seconds_of
from common.rpc import RpcServer, open_channel
from tests.loopback import HOST

SOON = 0.05
PATIENCE_SECONDS = 30.0


class Engine:
    """Answers probes between steps that a test may block."""

    def __init__(self) -> None:
        self.probes: list[Future[None]] = []
        self.may_step = threading.Event()
        self.may_step.set()
        self.in_step = threading.Event()
        self.error: Exception | None = None
        self.answers = True
        self.busy = False
        self.thread = EngineThread("engine", self.step, lambda: None)

    def submit(self) -> Future[None]:
        future: Future[None] = Future()
        self.probes.append(future)
        self.thread.wake()
        return future

    def step(self) -> bool:
        self.in_step.set()
        assert self.may_step.wait(PATIENCE_SECONDS)
        if self.answers and self.probes:
            probe = self.probes.pop()
            probe.set_exception(self.error) if self.error else probe.set_result(None)
            return True
        return self.busy


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    made.thread.start()
    yield made
    made.busy = False
    made.may_step.set()
    made.thread.stop()


async def test_an_engine_that_computes_is_healthy(engine: Engine) -> None:
    assert await HealthProbe(engine.submit, engine.thread, 0.0).is_healthy()


async def test_mode_6_health_fails_when_the_forward_fails(engine: Engine) -> None:
    engine.error = RuntimeError("device lost")
    assert not await HealthProbe(engine.submit, engine.thread, 0.0).is_healthy()


async def test_mode_6_health_does_not_hang_on_an_engine_that_is_stuck(engine: Engine) -> None:
    engine.may_step.clear()
    engine.in_step.clear()
    engine.thread.wake()
    assert await asyncio.to_thread(engine.in_step.wait, PATIENCE_SECONDS)
    probe = HealthProbe(engine.submit, engine.thread, 0.0, SOON)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await probe.is_healthy():
            continue


async def test_mode_6_an_idle_engine_that_takes_nothing_up_is_not_healthy(engine: Engine) -> None:
    engine.answers = False
    sleeping = HealthProbe(engine.submit, EngineThread("never", lambda: False, print), 0.0, SOON)
    assert not await sleeping.is_healthy()


async def test_mode_5_an_engine_that_is_busy_is_healthy_though_it_does_not_answer(
    engine: Engine,
) -> None:
    engine.answers, engine.busy = False, True
    engine.thread.wake()
    assert await HealthProbe(engine.submit, engine.thread, 0.0, SOON).is_healthy()


async def test_mode_5_a_step_as_long_as_steps_may_be_is_no_wedge(engine: Engine) -> None:
    engine.may_step.clear()
    engine.in_step.clear()
    engine.thread.wake()
    assert await asyncio.to_thread(engine.in_step.wait, PATIENCE_SECONDS)
    assert await HealthProbe(engine.submit, engine.thread, 60.0, SOON).is_healthy()


async def test_mode_38_many_who_ask_cost_one_forward(engine: Engine) -> None:
    engine.may_step.clear()
    engine.thread.wake()
    probe = HealthProbe(engine.submit, engine.thread, 60.0, SOON)
    assert all(await asyncio.gather(*(probe.is_healthy() for _ in range(50))))
    assert await probe.is_healthy()
    assert len(engine.probes) == 1


async def test_one_who_stops_asking_does_not_fail_the_others(engine: Engine) -> None:
    engine.may_step.clear()
    probe = HealthProbe(engine.submit, engine.thread, 60.0)
    first, second = (asyncio.create_task(probe.is_healthy()) for _ in range(2))
    await asyncio.to_thread(engine.in_step.wait, PATIENCE_SECONDS)
    first.cancel()
    await asyncio.wait({first})
    engine.may_step.set()
    assert await second


async def check(is_healthy: bool, service: str) -> "health_pb2.HealthCheckResponse.ServingStatus":
    """What a server whose engine is as given answers to gRPC's own health check."""

    async def answer() -> bool:
        return is_healthy

    server = RpcServer(is_healthy=answer)
    port = await server.start(f"{HOST}:0", ["dvd.v1.VisionService"])
    async with open_channel(f"{HOST}:{port}") as channel:
        assert await is_serving(channel, PATIENCE_SECONDS) is is_healthy
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return response.status
        finally:
            await server.stop(0)


@pytest.mark.parametrize("service", ["", "dvd.v1.VisionService"])
async def test_mode_6_grpc_health_tells_what_the_engine_tells(service: str) -> None:
    assert await check(True, service) == health_pb2.HealthCheckResponse.SERVING
    assert await check(False, service) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_service_that_is_not_there_is_not_found() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await check(True, "dvd.v1.NoService")
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


def test_work_is_timed() -> None:
    done = []
    assert seconds_of(lambda: done.append(1)) >= 0
    assert done == [1]
