"""Finds the directory of a model: a local path, or a hub id by huggingface_hub and its cache."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from common.errors import CheckpointError

WANTED_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


def resolve_model(model: str, revision: str | None = None, *, is_local: bool = False) -> Path:
    """Find a model directory.

    Args:
        model: Directory or hub id.
        revision: Branch, tag or commit of a hub id.
        is_local: Whether a hub id is looked for in the cache alone.

    Raises:
        CheckpointError: Neither a directory nor an id that can be fetched or is cached.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CheckpointError(f"{model} is neither a directory nor a hub id such as owner/name.")
    try:
        found = snapshot_download(
            model, revision=revision, allow_patterns=list(WANTED_FILES), local_files_only=is_local
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as cause:
        where = "is not in the hub's cache" if is_local else "cannot be fetched from the hub"
        raise CheckpointError(
            f"{model} is no local directory and {where} "
            f"({type(cause).__name__}); offline, it must be in the cache (HF_HOME)."
        ) from cause
    return Path(found)
