"""One overlay as Kubernetes would get it: rendered by Kustomize, its resources found by kind.

Kustomize comes with kubectl, which pip and this project's environment do not have; where there is
none, nothing can be rendered, and the check says so.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """Pods that a resource makes.

    Attributes:
        owner: Of the resource, as `Kind/name`, and the group of a RayCluster.
        labels: Of each pod.
        spec: Of each pod.
        replicas: How many pods.
        is_ray: Whether KubeRay makes them: it adds a command, and probes to Ray nodes.
    """

    owner: str
    labels: dict[str, str]
    spec: Resource
    replicas: int
    is_ray: bool

    @property
    def containers(self) -> list[Resource]:
        """Every container, those that run first included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


class Rendered:
    """The resources of one overlay.

    Attributes:
        resources: All, in Kustomize's order.
    """

    def __init__(self, resources: list[Resource]) -> None:
        self.resources = resources

    @classmethod
    def of_overlay(cls, folder: Path) -> "Rendered":
        """Render an overlay.

        Raises:
            ConfigError: Kustomize refuses it; the message is its own.
        """
        command = ["kubectl", "kustomize", str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if ran.returncode:
            raise ConfigError(" ".join(ran.stderr.split()))
        return cls([each for each in yaml.safe_load_all(ran.stdout) if each])

    def of_kind(self, kind: str) -> list[Resource]:
        """Resources of one kind."""
        return [each for each in self.resources if each["kind"] == kind]

    def pods(self) -> Iterator[PodTemplate]:
        """Every kind of pod that will run."""
        for each in self.of_kind("Deployment"):
            spec = each["spec"]
            yield _pods(name_of(each), spec["template"], spec["replicas"], is_ray=False)
        for each in self.of_kind("RayCluster"):
            spec = each["spec"]
            yield _pods(f"{name_of(each)} head", spec["headGroupSpec"]["template"], 1, is_ray=True)
            for group in spec["workerGroupSpecs"]:
                owner = f"{name_of(each)} {group['groupName']}"
                yield _pods(owner, group["template"], group["replicas"], is_ray=True)
        for each in self.of_kind("RayJob"):
            template = each["spec"].get("submitterPodTemplate")
            if template is not None:
                yield _pods(name_of(each), template, 1, is_ray=True)

    def configuration(self) -> str:
        """The text of the configuration that `dvd serve` is given."""
        texts = [each["data"].get("dvd.yaml", "") for each in self.of_kind("ConfigMap")]
        return "".join(texts)


def can_render() -> bool:
    """Whether kubectl is there."""
    return shutil.which("kubectl") is not None


def name_of(resource: Resource) -> str:
    """Kind and name, for a person."""
    return f"{resource['kind']}/{resource['metadata']['name']}"


def cpus(quantity: str) -> float:
    """CPUs that a quantity of Kubernetes means."""
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def _pods(owner: str, template: Resource, replicas: int, is_ray: bool) -> PodTemplate:
    labels = template.get("metadata", {}).get("labels", {})
    return PodTemplate(owner, labels, template["spec"], replicas, is_ray)
