"""What Ray finds in the environment."""

import os

import pytest

from deploy.config import RayConfig
from deploy.ray_environment import prepare_ray

NICENESS = "RAY_worker_niceness"  # Ray's own spelling


def test_replicas_do_not_run_behind_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NICENESS, raising=False)
    prepare_ray(RayConfig())
    assert os.environ[NICENESS] == "0"


def test_the_operators_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NICENESS, "7")
    prepare_ray(RayConfig())
    assert os.environ[NICENESS] == "7"
