"""What is taken for a model; hub ids are in `test_hub_cache.py`."""

from pathlib import Path

import pytest

from common.errors import CheckpointError
from common.model_source import resolve_model


def test_a_local_directory_is_a_model(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path.resolve()


@pytest.mark.parametrize("model", ["./gone", "/gone", "~/gone-model", "gone", "a/b/c"])
def test_what_is_neither_a_directory_nor_a_hub_id_is_refused(model: str) -> None:
    with pytest.raises(CheckpointError, match="neither a directory nor a hub id"):
        resolve_model(model)
