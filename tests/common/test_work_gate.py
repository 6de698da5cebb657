"""Work is counted, and once the gate is closed none begins."""

import asyncio

import pytest

from common.errors import UnavailableError
from common.work_gate import WorkGate
from tests.fakes import in_virtual_time, settle


@in_virtual_time
async def test_it_is_done_when_all_that_has_begun_has_ended() -> None:
    gate = WorkGate(begins={"Encode"}, goes_on={"Push"})
    first, second = gate.doing("Encode"), gate.doing("Push")
    first.__enter__()
    second.__enter__()
    gate.close()
    done = asyncio.create_task(gate.wait_until_done())
    first.__exit__(None, None, None)
    await settle()
    assert not done.done()
    second.__exit__(None, None, None)
    await done


@in_virtual_time
async def test_closed_it_lets_go_on_what_has_begun_and_begins_nothing() -> None:
    gate = WorkGate(begins={"Encode"}, goes_on={"Push"})
    gate.close()
    with pytest.raises(UnavailableError), gate.doing("Encode"):
        pass
    with gate.doing("Push"), gate.doing("WatchLoad"):
        waiting = asyncio.create_task(gate.wait_until_done())
        await settle()
        assert not waiting.done()
    await waiting


@in_virtual_time
async def test_what_is_no_work_is_not_waited_for() -> None:
    gate = WorkGate(begins={"Encode"})
    with gate.doing("WatchLoad"):
        await gate.wait_until_done()


@in_virtual_time
async def test_work_that_fails_has_ended() -> None:
    gate = WorkGate(begins={"Encode"})
    with pytest.raises(ValueError, match="inside"), gate.doing("Encode"):
        raise ValueError("inside")
    await gate.wait_until_done()
