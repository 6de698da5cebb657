"""Checks overlays and jobs: each resource against its schema, and all for what they must be."""

import importlib.resources
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from common.errors import ConfigError
from deploy.manifests.cluster_rules import cluster_mistakes
from deploy.manifests.finding import Finding
from deploy.manifests.job_rules import job_mistakes
from deploy.manifests.pod_rules import pod_mistakes
from deploy.manifests.rendered import Rendered, name_of
from deploy.manifests.schema import closed, told, violations

KUBERNETES = "1.34"
SCHEMAS = Path("deploy/kubernetes/schemas")
# Third-party data beside the repository.
KUBERAY = Path(__file__).resolve().parents[3] / "shared/data/kuberay"
CUSTOM = {
    "PodMonitor": "podmonitor.json",
    "PrometheusRule": "prometheusrule.json",
    "ScrapeConfig": "scrapeconfig.json",
}
RAY = {"RayCluster": "rayclusters.v1.schema.json", "RayJob": "rayjobs.v1.schema.json"}


def has_kuberay_schemas() -> bool:
    """Whether Ray's resources can be compared with KubeRay's schemas."""
    return KUBERAY.is_dir()


def check_overlay(root: Path, overlay: str) -> list[Finding]:
    """Check one overlay.

    Args:
        root: The repository.
        overlay: Its folder from there.
    """
    try:
        rendered = Rendered.of_overlay(root / overlay)
    except ConfigError as error:
        return [Finding(overlay, error.message)]
    messages = _schema_mistakes(root, rendered)
    if not messages:
        messages += [message for pod in rendered.pods() for message in pod_mistakes(pod)]
        messages += cluster_mistakes(rendered)
    return [Finding(overlay, message) for message in messages]


def check_job(root: Path, job: str, base: str) -> list[Finding]:
    """Check a job that is run beside an overlay.

    Args:
        root: The repository.
        job: Its folder from there.
        base: Of what every overlay has, likewise.
    """
    try:
        rendered, cluster = Rendered.of_overlay(root / job), Rendered.of_overlay(root / base)
    except ConfigError as error:
        return [Finding(job, error.message)]
    messages = _schema_mistakes(root, rendered)
    if not messages:
        messages += [message for pod in rendered.pods() for message in pod_mistakes(pod)]
        messages += [
            f"{name_of(each)}: {message}"
            for each in rendered.of_kind("RayJob")
            for message in job_mistakes(each, cluster)
        ]
    return [Finding(job, message) for message in messages]


def _schema_mistakes(root: Path, rendered: Rendered) -> list[str]:
    return [
        f"{name_of(each)}: {message}"
        for each in rendered.resources
        for message in _against_schema(root, each)
    ]


def _against_schema(root: Path, resource: dict[str, Any]) -> list[str]:
    kind = resource["kind"]
    if kind in CUSTOM:
        return violations(resource, closed(_read(root / SCHEMAS / CUSTOM[kind])))
    if kind in RAY:
        return violations(resource, _kuberay(kind)) if has_kuberay_schemas() else []
    try:
        validator = _core(kind, resource["apiVersion"])
    except FileNotFoundError:
        return [f"Kubernetes {KUBERNETES} has no {kind} of {resource['apiVersion']}"]
    return told(validator.iter_errors(resource))


@cache
def _kuberay(kind: str) -> dict[str, Any]:
    schema = _read(KUBERAY / RAY[kind])
    everybody: dict[str, Any] = {"apiVersion": {}, "kind": {}, "metadata": {}}
    return closed(schema | {"properties": everybody | schema["properties"]})


@cache
def _core(kind: str, api_version: str) -> Draft202012Validator:
    """The schema of one of Kubernetes' own kinds, which knows no fields but its own.

    Raises:
        FileNotFoundError: There is no such kind.
    """
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], version)))
    return Draft202012Validator(_bundled(name), registry=_definitions())


@cache
def _definitions() -> Registry[Any]:
    return Resource.from_contents(_bundled("_definitions")) @ Registry()


def _bundled(name: str) -> dict[str, Any]:
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    text = (folder / f"v{KUBERNETES}.0-local-strict" / f"{name}.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _read(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
