"""Checks every manifest that the repository ships, without a network and without a cluster.

    python -m deploy.manifests.check

`make check` runs it.
"""

import sys
from pathlib import Path

import typer

from common.errors import ConfigError
from deploy.config import load_config
from deploy.manifests.compose import check_compose
from deploy.manifests.dockerfile import check_dockerfile
from deploy.manifests.finding import Finding
from deploy.manifests.kubernetes import check_job, check_overlay, has_kuberay_schemas
from deploy.manifests.ray_up import check_ray_cluster
from deploy.manifests.rendered import can_render

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = "deploy/docker/Dockerfile"
COMPOSE = "deploy/docker/compose.yaml"
RAY_CLUSTER = "deploy/ray/cluster.yaml"
CONFIGS = "deploy/configs"
KUBERNETES = "deploy/kubernetes"
OVERLAYS = f"{KUBERNETES}/overlays"
JOBS = f"{KUBERNETES}/jobs"
BASE = f"{KUBERNETES}/base"


def check_all(root: Path) -> list[Finding]:
    """Check everything.

    Args:
        root: The repository.
    """
    findings = [
        *check_dockerfile(root, DOCKERFILE),
        *check_compose(root, COMPOSE),
        *check_ray_cluster(root, RAY_CLUSTER),
    ]
    for file in sorted((root / CONFIGS).glob("*.yaml")):
        findings += check_config(root, f"{CONFIGS}/{file.name}")
    for overlay in sorted((root / OVERLAYS).iterdir()) if can_render() else ():
        findings += check_overlay(root, f"{OVERLAYS}/{overlay.name}")
    for job in sorted((root / JOBS).iterdir()) if can_render() else ():
        findings += check_job(root, f"{JOBS}/{job.name}", BASE)
    return findings


def check_config(root: Path, file: str) -> list[Finding]:
    """Check that `dvd serve --config` takes a file.

    Args:
        root: The repository.
        file: Its path from there.
    """
    try:
        load_config(root / file, {})
    except ConfigError as error:
        return [Finding(file, error.message)]
    return []


def main() -> None:
    """Print what is wrong; the exit status tells whether anything is."""
    if not can_render():
        typer.echo(f"not checked, because there is no kubectl: {KUBERNETES}")
    elif not has_kuberay_schemas():
        typer.echo("not compared with KubeRay's schemas, which are not here: RayCluster, RayJob")
    findings = check_all(ROOT)
    for finding in findings:
        typer.echo(finding)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
