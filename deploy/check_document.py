"""What `dvd check` found, as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from deploy.model_check import ModelCheck
from deploy.model_sizing import ModelSizing
from deploy.sizing import tile_flops, token_flops

Document = dict[str, Any]


def write_document(file: Path, check: ModelCheck, sizing: ModelSizing | None) -> None:
    """Write all that was found; `sizing` is null where a role cannot be built.

    Raises:
        ConfigError: The file cannot be written.
    """
    document = {
        "model": str(check.directory),
        "will_load": check.will_load,
        "problems": [asdict(problem) for problem in check.problems],
        "vision_parameters": check.vision.num_parameters if check.vision else None,
        "language_parameters": check.language.num_parameters if check.language else None,
        "sizing": _sizing(sizing) if sizing is not None else None,
    }
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as cause:
        raise ConfigError(f"Cannot write {file}.") from cause


def _sizing(sizing: ModelSizing) -> Document:
    return {
        "card": asdict(sizing.card),
        "traffic": asdict(sizing.traffic),
        "vision_memory_bytes": asdict(sizing.vision_memory),
        "tensor_parallel": [
            {"size": choice.size, "obstacle": choice.obstacle}
            if choice.obstacle
            else {
                "size": choice.size,
                "memory_bytes": asdict(choice.memory),
                "kv_bytes_per_token": choice.kv_bytes_per_token,
                "kv_tokens": choice.kv_tokens,
            }
            for choice in sizing.choices
        ],
        "flops": {
            "tile": tile_flops(sizing.vision),
            "token": token_flops(sizing.language),
            "vision": sizing.vision_flops,
            "language": sizing.language_flops,
        },
        "suggested": {
            "vision_gpus_per_language_gpu": sizing.gpu_ratio,
            "vision_replicas": sizing.ratio.vision,
            "language_replicas": sizing.ratio.language,
            "tensor_parallel_size": sizing.choice.size if sizing.choice else None,
        },
    }
