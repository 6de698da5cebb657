"""What Ray finds in the environment."""

import os

import pytest

from deploy.config import RayConfig
from deploy.ray_environment import prepare_ray


def test_replicas_do_not_run_behind_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    prepare_ray(RayConfig())
    assert os.environ["RAY_worker_niceness"] == "0"


def test_the_operators_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "7")
    prepare_ray(RayConfig())
    assert os.environ["RAY_worker_niceness"] == "7"
