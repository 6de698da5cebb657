"""The model that a deployment names."""

from pathlib import Path

import pytest

from common.errors import CheckpointError, ConfigError
from deploy.config import DEFAULT_MODEL, DeployConfig
from deploy.model import find_model


def test_a_directory_is_found(tmp_path: Path) -> None:
    assert find_model(DeployConfig(model=str(tmp_path))) == tmp_path


def test_what_is_neither_a_directory_nor_an_id_is_told() -> None:
    with pytest.raises(CheckpointError, match="is neither a directory nor a hub id"):
        find_model(DeployConfig(model="./no_such_model"))


def test_a_default_model_that_is_not_built_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"{DEFAULT_MODEL} is not there: run in a clone"):
        find_model(DeployConfig())
