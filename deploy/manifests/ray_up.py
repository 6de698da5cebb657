"""Checks a file for `ray up`: Ray's own validator, its commands, and room for the configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError
from deploy.config import load_config
from deploy.manifests.command_line import command_mistakes, commands_of
from deploy.manifests.finding import Finding
from deploy.manifests.image_name import is_pinned
from deploy.manifests.needs import needs_of

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
    for needs in needs_of(config):
        room = 0
        for node in nodes:
            if needs.is_met_by(node.get("labels", {})):
                has = node["resources"]
                room += needs.room(has.get("CPU", 0), has.get("GPU", 0)) * node.get(
                    "max_workers", 0
                )
        if room < needs.replicas:
            asked = f"{CONFIG} asks for {needs.replicas} replicas with {needs.labels}"
            yield f"{needs.role}: {asked}, room is for {room}"
