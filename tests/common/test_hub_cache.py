"""A hub id without a network: found in huggingface_hub's own cache, by revision, or refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
PROGRAM = """
import sys
from common.errors import CheckpointError
from common.model_source import resolve_model
try:
    print(resolve_model(sys.argv[1], sys.argv[2] or None, is_local=sys.argv[3] == "local"))
except CheckpointError as error:
    print("refused:", error.message)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as huggingface_hub lays it out, with two revisions of one model."""
    model = tmp_path / "models--owner--name"
    for revision, commit in COMMITS.items():
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "config.json").write_text("{}")
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / revision).write_text(commit)
    return tmp_path


def resolve(cache: Path, model: str, revision: str = "", where: str = "offline") -> str:
    """Resolve in a process of its own: the hub client reads its environment when imported."""
    # Online, there is nobody to ask: whoever connects is told so at once.
    network = (
        {"HF_HUB_OFFLINE": "1"} if where == "offline" else {"HF_ENDPOINT": "http://127.0.0.1:1"}
    )
    environment = os.environ | network | {"HF_HUB_CACHE": str(cache)}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, model, revision, where],
        capture_output=True, text=True, check=True, env=environment, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return found.stdout.strip()


@pytest.mark.parametrize(("revision", "commit"), [("", COMMITS["main"]), ("v1", COMMITS["v1"])])
def test_a_cached_model_is_found_by_revision(cache: Path, revision: str, commit: str) -> None:
    assert Path(resolve(cache, "owner/name", revision)).name == commit


def test_what_is_not_cached_is_refused_and_the_cache_named(cache: Path) -> None:
    assert "offline, it must be in the cache (HF_HOME)" in resolve(cache, "owner/other")
    assert resolve(cache, "owner/name", "v2").startswith("refused: owner/name")


def test_who_wants_the_cache_alone_asks_nobody(cache: Path) -> None:
    assert Path(resolve(cache, "owner/name", where="local")).name == COMMITS["main"]
    refused = resolve(cache, "owner/other", where="local")
    assert "is not in the hub's cache (LocalEntryNotFoundError)" in refused
