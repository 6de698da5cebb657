"""What a RayJob must be to the cluster that it is submitted to: KubeRay's rules, and ours."""

import json
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from deploy.manifests.command_line import command_mistakes
from deploy.manifests.rendered import Rendered, Resource, cpus
from deploy.manifests.selection import is_let_in

SELECTED_BY = "ray.io/cluster"
# Where these are otherwise KubeRay refuses the job, or takes the cluster for the job's own.
OF_A_RUNNING_CLUSTER = {
    "submissionMode": ("K8sJobMode", "HTTPMode"),
    "shutdownAfterJobFinishes": (False,),
    "ttlSecondsAfterFinished": (0,),
    "backoffLimit": (0,),
}


def job_mistakes(job: Resource, rendered: Rendered) -> Iterator[str]:
    """Everything that does not fit together.

    Args:
        job: The RayJob.
        rendered: What it runs beside.
    """
    spec = job["spec"]
    yield from command_mistakes(shlex.split(spec["entrypoint"]))
    yield from _kuberay(spec)
    name = spec["clusterSelector"].get(SELECTED_BY)
    clusters = rendered.of_kind("RayCluster")
    cluster = next((each for each in clusters if each["metadata"]["name"] == name), None)
    if cluster is None:
        yield f"clusterSelector: there is no RayCluster {name}"
        return
    yield from _submitter(spec, cluster, rendered)
    yield from _place(spec, cluster)
    yield from _server(_option(spec["entrypoint"], "--server"), rendered)


def _kuberay(spec: Resource) -> Iterator[str]:
    for field, allowed in OF_A_RUNNING_CLUSTER.items():
        value = spec.get(field, allowed[0])
        if value not in allowed:
            yield f"{field} is {value}, which is not for a cluster that runs already"
    if "activeDeadlineSeconds" not in spec:
        yield "has no activeDeadlineSeconds: it waits forever where no node has room"


def _submitter(spec: Resource, cluster: Resource, rendered: Rendered) -> Iterator[str]:
    template = spec.get("submitterPodTemplate")
    if template is None:
        yield "has no submitterPodTemplate: KubeRay's own may not run in this namespace"
        return
    labels = template.get("metadata", {}).get("labels", {})
    head = cluster["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    if not is_let_in(rendered, labels, head):
        yield "no network policy lets its submitter reach Ray's head"
    secret = cluster["spec"]["authOptions"]["secretName"]
    variables = {each["name"]: each for each in template["spec"]["containers"][0].get("env", ())}
    reference = variables.get("RAY_AUTH_TOKEN", {}).get("valueFrom", {}).get("secretKeyRef", {})
    if reference.get("name") != secret:
        yield f"its submitter does not have the token of {secret}"


def _place(spec: Resource, cluster: Resource) -> Iterator[str]:
    """Where its driver runs: a node that is for it, with what the command reads."""
    wanted = json.loads(spec.get("entrypointResources", "{}"))
    if not wanted or not spec.get("entrypointNumCpus"):
        yield "asks for no CPU or for no resource: it would run on the head or in a replica's room"
        return
    for group in cluster["spec"]["workerGroupSpecs"]:
        there = group.get("resources", {})
        if all(float(there.get(name, 0)) >= amount for name, amount in wanted.items()):
            break
    else:
        yield f"no worker group has the resources {wanted}"
        return
    (container,) = group["template"]["spec"]["containers"]
    if cpus(container["resources"]["limits"]["cpu"]) < spec["entrypointNumCpus"]:
        yield f"asks for more CPUs than a pod of {group['groupName']} has"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    key = PurePosixPath(_option(spec["entrypoint"], "--api-key-file"))
    if str(key.parent) not in mounts:
        yield f"nothing is mounted at {key.parent} in pods of {group['groupName']}"


def _server(server: str, rendered: Rendered) -> Iterator[str]:
    host, _, port = server.partition(":")
    for service in rendered.of_kind("Service"):
        ports = {str(each["port"]) for each in service["spec"]["ports"]}
        if service["metadata"]["name"] == host and port in ports:
            return
    yield f"there is no service at {server}"


def _option(command: str, flag: str) -> str:
    """The value of an option; empty where there is none."""
    words = shlex.split(command)
    return words[words.index(flag) + 1] if flag in words[:-1] else ""
