"""Find the model that a deployment names."""

from pathlib import Path

from common.errors import ConfigError
from common.model_source import resolve_model
from deploy.config import DEFAULT_MODEL, DeployConfig


def find_model(config: DeployConfig) -> Path:
    """Resolve a directory or hub id.

    Raises:
        ConfigError: The default model is not there.
        CheckpointError: There is no such model.
    """
    if config.model == DEFAULT_MODEL and not Path(DEFAULT_MODEL).is_dir():
        raise ConfigError(
            f"The default model {DEFAULT_MODEL} is not there: run in a clone of the repository, "
            "or name a model directory or hub id."
        )
    return resolve_model(config.model, config.revision)
