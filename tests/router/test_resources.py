"""Amounts of what a router bounds."""

from router.requests import RequestCost
from router.resources import Amounts, Resource


def test_a_request_takes_one_of_requests_and_its_cost() -> None:
    amounts = Amounts.of_request(RequestCost(tiles=2, tokens=3, image_bytes=4))
    assert [amounts.of(resource) for resource in Resource] == [1, 2, 3, 4]


def test_what_is_added_can_be_taken_away() -> None:
    amounts = Amounts(1, 2, 3, 4)
    amounts.add(Amounts(10, 20, 30, 40))
    assert amounts == Amounts(11, 22, 33, 44)
    amounts.add(Amounts(10, 20, 30, 40), -1)
    assert amounts == Amounts(1, 2, 3, 4)
