"""Checks a file for `ray up`: Ray's own validator, its commands, and room for the configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError
from deploy.config import DeployConfig, load_config
from deploy.manifests.command_line import command_mistakes, commands_of
from deploy.manifests.finding import Finding
from deploy.manifests.image_name import is_pinned

CONFIG = "deploy/configs/cluster.yaml"


def check_ray_cluster(root: Path, file: str) -> list[Finding]:
    """Check one cluster file.

    Args:
        root: The repository.
        file: Its path from there.
    """
    document = yaml.safe_load((root / file).read_text(encoding="utf-8"))
    messages = list(_own_words(document))
    if not messages:
        messages = [*_commands(document), *_room(document, root)]
        if not is_pinned(document["docker"]["image"]):
            messages.append(f"image {document['docker']['image']} is not of one version")
    return [Finding(file, message) for message in messages]


def _own_words(document: dict[str, Any]) -> Iterator[str]:
    from jsonschema import ValidationError  # noqa: PLC0415
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    try:
        validate_config(prepare_config(dict(document)))
    except ValidationError as error:
        yield f"{error.json_path}: {error.message}"
    except (AssertionError, KeyError, ValueError) as error:
        yield str(error)


def _commands(document: dict[str, Any]) -> Iterator[str]:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for line in document[key]:
            for words in commands_of(line):
                yield from command_mistakes(words)
            if "ray start" in line and "RAY_AUTH_MODE=token" not in line:
                yield f"{key}: a node is started without a token"


def _room(document: dict[str, Any], root: Path) -> Iterator[str]:
    try:
        config = load_config(root / CONFIG, {})
    except ConfigError as error:
        yield f"{CONFIG}: {error.message}"
        return
    nodes = document["available_node_types"].values()
    for role, labels, wanted in _wanted(config):
        fitting = [node for node in nodes if _has(node.get("labels", {}), labels)]
        room = sum(int(node["resources"].get("GPU", 0)) * node["max_workers"] for node in fitting)
        if room < wanted:
            yield f"{role}: {CONFIG} asks for {wanted} replicas with {labels}, room is for {room}"


def _wanted(config: DeployConfig) -> Iterator[tuple[str, dict[str, str], int]]:
    for role, placement in (
        ("vision", config.vision.placement),
        ("language", config.language.placement),
    ):
        yield role, placement.labels, placement.replicas


def _has(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())
