"""`dvd check`: will a model load, what does it take, and how should it be deployed."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from common.errors import CheckpointError, ConfigError
from common.model_source import resolve_model
from deploy.check_document import write_document
from deploy.check_report import print_check
from deploy.model_check import ModelCheck, check_model
from deploy.model_sizing import ModelSizing, size_model, write_config
from deploy.sizing import Card, Traffic

# Share of compressed tiles that a model with a gate is sized for where none is named.
USUAL_COMPRESSED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What is asked.

    Attributes:
        model: Directory or hub id.
        revision: Of a hub id.
        gpu_memory_gib: Of each GPU.
        gpu_memory_utilization: Share of it that may be in use.
        tiles: Of a request.
        text_tokens: Of a request.
        output_tokens: Of its answer.
        compressed_share: Of its tiles; None takes a half where the model has a gate, else none.
        config_file: Where to write a configuration; None for nowhere.
        json_file: Where to write all that was found; None for nowhere.
    """

    model: str
    revision: str | None
    gpu_memory_gib: float
    gpu_memory_utilization: float
    tiles: float
    text_tokens: float
    output_tokens: float
    compressed_share: float | None
    config_file: Path | None
    json_file: Path | None


def run_check(options: CheckOptions, console: Console) -> None:
    """Check a model and show what was found.

    Raises:
        ConfigError: The options do not go with the model, or a file cannot be written.
        CheckpointError: There is no such model, or it will not load.
    """
    directory = resolve_model(options.model, options.revision, is_local=True)
    check = check_model(directory)
    sizing = _sizing(check, options)
    print_check(check, sizing, console)
    if options.json_file is not None:
        write_document(options.json_file, check, sizing)
    if not check.will_load:
        raise CheckpointError(f"{options.model} will not load.")
    if options.config_file is not None and sizing is not None:
        write_config(options.config_file, options.model, options.revision, sizing)
        console.print(f"wrote {options.config_file}", markup=False, soft_wrap=True)


def _sizing(check: ModelCheck, options: CheckOptions) -> ModelSizing | None:
    """Sizes of a model of which both roles can be built."""
    if check.config is None or check.vision is None or check.language is None:
        return None
    has_gate = check.config.thresholds is not None
    share = options.compressed_share
    if share and not has_gate:
        raise ConfigError("--compressed-share is above 0, but the model has no resolution router.")
    if share is None:
        share = USUAL_COMPRESSED_SHARE if has_gate else 0.0
    memory_bytes = int(options.gpu_memory_gib * 2**30)
    return size_model(
        check,
        check.config,
        Card(memory_bytes, options.gpu_memory_utilization),
        Traffic(options.tiles, options.text_tokens, options.output_tokens, share),
    )
