"""Who takes work: only replicas that are in the roster, confirmed, alive and of our model."""

import asyncio

import pytest

from common.errors import DvdError, UnavailableError
from common.types import ReplicaRole
from protos.dvd.v1 import replica_pb2
from router.policies import Affinity
from router.pooled_replica import RECONNECT_SECONDS
from router.replica_pool import ReplicaPool
from tests.fakes import in_virtual_time, pass_time, settle
from tests.router.fakes import DTYPE, FakeReplica, address, empty_pool, pool_of, restarted

LOST = UnavailableError("A replica cannot be reached.")


def vision(index: int) -> FakeReplica:
    return FakeReplica(address(f"vision-{index}"))


def outstanding(pool: ReplicaPool[FakeReplica], name: str) -> tuple[int, int]:
    """What this router has placed on a replica, and what the replica has said of itself."""
    return pool._replicas[name].placed_work, pool._members[name].last_report.outstanding_work


@in_virtual_time
async def test_a_replica_takes_work_only_after_its_first_load_report() -> None:
    fake = vision(0)
    pool = empty_pool(ReplicaRole.VISION, fake)
    await pool.update([fake.address])
    await settle()
    assert pool.num_up == 0
    fake.reports.put_nowait(3)
    await pool.wait_until_up(1)
    with pool.lease(1) as replica:
        assert replica.client is fake
        assert replica.dtype == DTYPE
    await pool.close()


@in_virtual_time
async def test_a_replica_of_another_incarnation_is_not_used_until_it_is_the_one() -> None:
    fake = vision(0)
    fake.incarnation = "older"
    fake.reports.put_nowait(0)
    pool = empty_pool(ReplicaRole.VISION, fake)
    await pool.update([fake.address])
    await pass_time(10 * RECONNECT_SECONDS)
    assert pool.num_up == 0
    fake.incarnation = "first"
    await pool.wait_until_up(1)
    await pool.close()


@pytest.mark.parametrize("end", [None, LOST])
@in_virtual_time
async def test_a_replica_whose_stream_ends_or_breaks_takes_no_work_until_it_is_back(
    end: DvdError | None,
) -> None:
    fake = vision(0)
    async with pool_of(fake) as pool:
        fake.reports.put_nowait(end)
        await settle()
        assert pool.num_up == 0
        with pytest.raises(UnavailableError, match=r"No vision replica is ready\."):
            pool.lease(1).__enter__()
        fake.reports.put_nowait(0)
        await pool.wait_until_up(1)


@in_virtual_time
async def test_a_replica_that_cannot_be_asked_is_asked_again() -> None:
    fake = vision(0)
    fake.info_outcomes = [LOST, LOST]
    fake.reports.put_nowait(0)
    pool = empty_pool(ReplicaRole.VISION, fake)
    await pool.update([fake.address])
    await pool.wait_until_up(1)
    assert asyncio.get_running_loop().time() == pytest.approx(2 * RECONNECT_SECONDS)
    await pool.close()


@in_virtual_time
async def test_a_lost_replica_is_logged_once_and_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = vision(0)
    async with pool_of(fake):
        fake.info_outcomes = [LOST, LOST]
        fake.reports.put_nowait(LOST)
        await pass_time(10 * RECONNECT_SECONDS)
    assert [r.getMessage() for r in caplog.records if r.name == "router.pooled_replica"] == [
        "lost vision-0: A replica cannot be reached."
    ]


@in_virtual_time
async def test_who_leaves_the_roster_is_dropped_and_who_stays_is_kept() -> None:
    stays, leaves = vision(0), vision(1)
    async with pool_of(stays, leaves) as pool:
        before = pool._replicas["vision-0"]
        await pool.update([stays.address])
        assert pool.num_up == 1
        assert pool._replicas["vision-0"] is before
        assert (stays.is_closed, leaves.is_closed) == (False, True)


@in_virtual_time
async def test_who_leaves_the_roster_may_finish_what_it_has_begun() -> None:
    leaves = vision(0)
    async with pool_of(leaves) as pool:
        with pool.lease(1), pool.lease(1):
            await pool.update([])
            await settle()
            assert (pool.num_up, leaves.is_closed) == (0, False)
        await settle()
        assert leaves.is_closed


@in_virtual_time
async def test_a_replica_that_was_replaced_is_cut_at_once() -> None:
    fake = vision(0)
    async with pool_of(fake) as pool:
        with pool.lease(1):
            await pool.update([restarted(fake.address)])
            assert fake.is_closed


@in_virtual_time
async def test_closing_cuts_who_was_still_finishing() -> None:
    leaves = vision(0)
    async with pool_of(leaves) as pool:
        with pool.lease(1):
            await pool.update([])
            await pool.close()
            assert leaves.is_closed


@in_virtual_time
async def test_a_restarted_replica_is_a_new_one() -> None:
    fake = vision(0)
    async with pool_of(fake) as pool:
        await pool.update([restarted(fake.address)])
        assert fake.is_closed
        assert pool.num_up == 0
        fake.incarnation = "second"
        fake.reports.put_nowait(0)
        await pool.wait_until_up(1)
        with pool.lease(1) as replica:
            assert replica.address.address == "vision-0:3"


@in_virtual_time
async def test_other_roles_and_other_models_do_not_belong() -> None:
    fake = vision(0)
    pool = empty_pool(ReplicaRole.VISION, fake)
    await pool.update([address("language-0"), address("vision-1", fingerprint="other")])
    assert pool._replicas == {}
    await pool.close()


def words(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the pool has told the operator."""
    return [r.getMessage() for r in caplog.records if r.name == "router.pooled_replica"]


@in_virtual_time
async def test_a_replica_that_the_roster_says_serves_another_model_is_refused_by_both_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stranger, other = address("vision-1", fingerprint="theirs"), vision(0).address
    pool = empty_pool(ReplicaRole.VISION, vision(0))
    for roster in ([stranger], [stranger, other], [stranger]):
        await pool.update(roster)
    assert words(caplog) == [
        "refused vision-1: model fingerprint differs: it serves theirs, "
        f"ours is {other.fingerprint}"
    ]
    await pool.close()


@in_virtual_time
async def test_a_replica_that_itself_says_it_serves_another_model_is_refused_by_both_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = vision(0)
    fake.fingerprint = "theirs"
    fake.reports.put_nowait(0)
    pool = empty_pool(ReplicaRole.VISION, fake)
    await pool.update([fake.address])
    await pass_time(10 * RECONNECT_SECONDS)
    assert pool.num_up == 0
    ours = fake.address.fingerprint
    assert words(caplog) == [
        f"refused vision-0: model fingerprint differs: it serves theirs, ours is {ours}"
    ]
    await pool.close()


@in_virtual_time
async def test_replicas_may_be_counted_while_another_joins() -> None:
    async with pool_of(vision(0)) as pool:

        class Joining:
            """Makes another replica join while it is counted, as the metrics' thread may see it."""

            @property
            def is_up(self) -> bool:
                pool._replicas["vision-9"] = present
                return False

        present = pool._replicas["vision-0"]
        pool._replicas["vision-1"] = Joining()
        assert pool.num_up == 1
        del pool._replicas["vision-1"], pool._replicas["vision-9"]


@in_virtual_time
async def test_closing_drops_everyone() -> None:
    fakes = [vision(0), vision(1)]
    async with pool_of(*fakes) as pool:
        pass
    assert pool.num_up == 0
    assert all(fake.is_closed for fake in fakes)


@in_virtual_time
async def test_work_is_counted_for_the_length_of_the_lease() -> None:
    async with pool_of(vision(0)) as pool:
        with pool.lease(3), pool.lease(4):
            assert outstanding(pool, "vision-0") == (7, 0)
        assert outstanding(pool, "vision-0") == (0, 0)


@in_virtual_time
async def test_work_is_given_back_after_an_error() -> None:
    async with pool_of(vision(0)) as pool:
        with pytest.raises(ValueError, match="inside"), pool.lease(3):
            raise ValueError("inside")
        assert outstanding(pool, "vision-0") == (0, 0)


@in_virtual_time
async def test_what_others_have_placed_counts_beside_our_own() -> None:
    fakes = [vision(0), vision(1)]
    async with pool_of(*fakes) as pool:
        fakes[0].reports.put_nowait(5)
        await settle()
        with pool.lease(3) as first, pool.lease(30) as second, pool.lease(3) as third:
            names = [replica.address.name for replica in (first, second, third)]
    assert names == ["vision-1", "vision-1", "vision-0"]


@in_virtual_time
async def test_the_time_to_finish_follows_from_what_replicas_report() -> None:
    fake = vision(0)
    async with pool_of(fake) as pool:
        assert pool.seconds_to_finish(0) == 0
        for second in (1, 2):
            fake.reports.put_nowait(
                replica_pb2.LoadReport(
                    outstanding_work=1000,
                    completed_work=100 * second,
                    busy_seconds=second,
                    waiting_requests=3,
                )
            )
        await settle()
        assert 9 <= pool.seconds_to_finish(0) <= 11


@in_virtual_time
async def test_equal_keys_go_to_one_replica_under_affinity() -> None:
    fakes = [vision(index) for index in range(4)]
    async with pool_of(*fakes, policy=Affinity(1.25)) as pool:
        homes = []
        for key in [bytes([number]) for number in range(16)] * 2:
            with pool.lease(1, key=key) as replica:
                homes.append(replica.address.name)
    assert homes[:16] == homes[16:]
    assert len(set(homes)) == 4


@in_virtual_time
async def test_work_goes_to_the_least_busy_and_takes_turns_on_a_tie() -> None:
    fakes = [vision(index) for index in range(3)]
    async with pool_of(*fakes) as pool:
        fakes[1].reports.put_nowait(10)
        await settle()
        names = []
        for _ in range(4):
            with pool.lease(1) as replica:
                names.append(replica.address.name)
    assert sorted(names[:2]) == sorted(names[2:]) == ["vision-0", "vision-2"]


@in_virtual_time
async def test_a_replica_to_avoid_is_taken_only_where_there_is_no_other() -> None:
    async with pool_of(vision(0), vision(1)) as pool:
        with (
            pool.lease(100, avoid=[address("vision-0")]) as busy,
            pool.lease(1, avoid=[address("vision-0")]) as replica,
        ):
            assert busy.address.name == replica.address.name == "vision-1"
    async with pool_of(vision(0)) as pool:
        with pool.lease(1, avoid=[address("vision-0")]) as replica:
            assert replica.address.name == "vision-0"


@in_virtual_time
async def test_a_lease_outlives_the_replica_it_was_given_on() -> None:
    fake = vision(0)
    async with pool_of(fake) as pool:
        with pool.lease(3) as replica:
            await pool.update([])
        assert replica.placed_work == 0


@in_virtual_time
async def test_several_may_wait_for_different_counts() -> None:
    fakes = [vision(0), vision(1)]
    pool = empty_pool(ReplicaRole.VISION, *fakes)
    waits = [asyncio.create_task(pool.wait_until_up(count)) for count in (2, 1)]
    await pool.update([fake.address for fake in fakes])
    fakes[0].reports.put_nowait(0)
    await waits[1]
    assert not waits[0].done()
    fakes[1].reports.put_nowait(0)
    await waits[0]
    await pool.close()
