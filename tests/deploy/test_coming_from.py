"""`docs/coming_from.md` names flags, keys and metrics that there are."""

import re
from pathlib import Path

import pytest

from common.errors import ConfigError
from deploy.config import DeployConfig
from deploy.manifests.command_line import flags_of
from tests.deploy.grafana.documented_metrics import documented_metrics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/coming_from.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|(.+)\|(.+)\|$", TEXT, re.MULTILINE)
OURS = " ".join(right for _, right in ROWS)
KEY = re.compile(r"`((?:vision|language|router)\.[a-z_.]+)`")


def section_of(key: str) -> object:
    """The value of a key where nothing is configured.

    Raises:
        ConfigError: There is no such key.
    """
    value: object = DeployConfig()
    for name in key.split("."):
        if not hasattr(value, name):
            raise ConfigError(f"There is no key {key}.")
        value = getattr(value, name)
    return value


def test_the_flags_are_those_of_dvd_serve() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", OURS))
    assert len(named) > 10
    assert named <= flags_of("serve")


@pytest.mark.parametrize("key", sorted(set(KEY.findall(OURS))))
def test_the_keys_are_those_of_the_configuration(key: str) -> None:
    section_of(key)


def test_a_key_that_there_is_not_would_be_found() -> None:
    with pytest.raises(ConfigError):
        section_of("router.max_images")


def test_the_metrics_are_those_that_are_exported() -> None:
    known = {re.sub(r"_(sum|count|bucket)$", "", name) for name in documented_metrics()}
    named = set(re.findall(r"`(dvd_\w+)`", OURS))
    assert len(named) > 5
    assert named <= known
