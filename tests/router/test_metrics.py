"""What a router exports of its own events."""

from contextlib import ExitStack, suppress

import pytest

from common.errors import OverloadedError
from common.types import ReplicaRole
from router.admission import Admission
from router.metrics import RouterMetrics
from router.requests import RequestCost
from router.standing import Refusal
from tests.router.fakes import empty_pool
from tests.router.test_admission import BOUNDS


@pytest.mark.parametrize(
    ("cost", "cause"),
    [(RequestCost(0, 0, 0), None), (RequestCost(9, 0, 0), Refusal.TILES)],
)
def test_refusals_are_counted_by_cause(cost: RequestCost, cause: Refusal | None) -> None:
    admission = Admission(BOUNDS)
    metrics = RouterMetrics(
        admission, empty_pool(ReplicaRole.VISION), empty_pool(ReplicaRole.LANGUAGE)
    )
    with ExitStack() as held, suppress(OverloadedError):
        held.enter_context(admission.admit(RequestCost(5, 0, 0)))
        held.enter_context(admission.admit(cost))
    for each in Refusal:
        count = metrics.registry.get_sample_value("dvd_refusals_total", {"cause": each.value})
        assert count == (each is cause)
