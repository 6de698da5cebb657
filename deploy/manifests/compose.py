"""Checks a compose file: the specification's schema, pinned images, mounts that are there."""

import importlib.resources
import json
from pathlib import Path
from typing import Any

import yaml

from deploy.manifests.command_line import command_mistakes
from deploy.manifests.finding import Finding
from deploy.manifests.image_name import is_pinned
from deploy.manifests.plain_secret import plain_secrets
from deploy.manifests.schema import violations

SCHEMA = "builtin_schemas/vendor/compose-spec.json"
# Made by whoever starts it, and by nobody else.
BY_HAND = ("./api-key",)


def check_compose(root: Path, file: str) -> list[Finding]:
    """Check one compose file.

    Args:
        root: The repository.
        file: Its path from there.
    """
    document = yaml.safe_load((root / file).read_text(encoding="utf-8"))
    found = violations(document, _schema())
    if not found:
        folder = (root / file).parent
        for name, service in document["services"].items():
            messages = [*_service(service), *_mounts(folder, service, document)]
            found += [f"services.{name}: {message}" for message in messages]
        for name, secret in document.get("secrets", {}).items():
            if secret.get("file") not in BY_HAND:
                found.append(f"secrets.{name} is not a file that is made by hand")
    return [Finding(file, message) for message in found]


def _schema() -> dict[str, Any]:
    text = importlib.resources.files("check_jsonschema").joinpath(SCHEMA).read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _service(service: dict[str, Any]) -> list[str]:
    messages = []
    if not is_pinned(service["image"]):
        messages.append(f"image {service['image']} is not of one version")
    if service.get("privileged") or service.get("user") in ("0", "root"):
        messages.append("runs as root")
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        messages.append("may gain privileges")
    messages += plain_secrets(service.get("environment", {}))
    if service["image"].startswith("dvd:"):
        messages += command_mistakes(["dvd", *service.get("command", ())])
    return messages


def _mounts(folder: Path, service: dict[str, Any], document: dict[str, Any]) -> list[str]:
    messages = []
    for mount in service.get("volumes", ()):
        source = mount.split(":")[0]
        is_path = source.startswith((".", "/"))
        if is_path and not (folder / source).exists():
            messages.append(f"volume {source}: there is no such file")
        elif not is_path and source not in document.get("volumes", {}):
            messages.append(f"volume {source} is not declared")
    return messages
