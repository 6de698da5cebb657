"""Who chooses which pods: services, policies, budgets, monitors; and pods that nobody chooses."""

from collections.abc import Iterator
from typing import Any

from deploy.manifests.rendered import PodTemplate, Rendered, Resource, name_of

SELECTING = ("Service", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor")


def selection_mistakes(rendered: Rendered) -> Iterator[str]:
    """Selectors and port names that lead nowhere, and pods that are open to everybody."""
    pods = list(rendered.pods())
    for kind in SELECTING:
        for resource in rendered.of_kind(kind):
            yield from _selected(resource, pods)
    for budget in rendered.of_kind("PodDisruptionBudget"):
        yield from _one_at_a_time(budget, pods)
    closing = [
        each["spec"]["podSelector"]
        for each in rendered.of_kind("NetworkPolicy")
        if "Ingress" in each["spec"]["policyTypes"]
    ]
    for pod in pods:
        if not any(is_chosen(selector, pod.labels) for selector in closing):
            yield f"{pod.owner}: no network policy keeps others out"


def is_chosen(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector chooses pods with these labels.

    Args:
        selector: Of labels alone, as a Service has it, or with `matchLabels`, as others have it.
        labels: Of the pods.
    """
    plain = selector if all(isinstance(each, str) for each in selector.values()) else {}
    wanted = selector.get("matchLabels", plain)
    expressions = selector.get("matchExpressions", ())
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def is_let_in(rendered: Rendered, guest: dict[str, str], host: dict[str, str]) -> bool:
    """Whether a network policy lets pods of one kind reach those of another.

    Args:
        rendered: Has the policies.
        guest: Labels of those that ask.
        host: Labels of those that are asked.
    """
    for policy in rendered.of_kind("NetworkPolicy"):
        if is_chosen(policy["spec"]["podSelector"], host):
            peers = (peer for rule in policy["spec"].get("ingress", ()) for peer in rule["from"])
            if any(
                "podSelector" in each and is_chosen(each["podSelector"], guest) for each in peers
            ):
                return True
    return False


def _selected(resource: Resource, pods: list[PodTemplate]) -> Iterator[str]:
    spec = resource["spec"]
    selector = spec.get("podSelector", spec.get("selector", {}))
    chosen = [pod for pod in pods if is_chosen(selector, pod.labels)]
    if not chosen:
        yield f"{name_of(resource)}: its selector chooses no pod"
    known = {
        port["name"] for pod in chosen for each in pod.containers for port in each.get("ports", ())
    }
    for name in _port_names(spec):
        if name not in known:
            yield f"{name_of(resource)}: there is no port {name} in the pods that it chooses"


def _one_at_a_time(budget: Resource, pods: list[PodTemplate]) -> Iterator[str]:
    spec = budget["spec"]
    there = sum(pod.replicas for pod in pods if is_chosen(spec["selector"], pod.labels))
    kept = max(1, there - 1)
    if spec["minAvailable"] != kept:
        yield f"{name_of(budget)}: minAvailable of {there} pods must be {kept}: one at a time goes"


def _port_names(spec: dict[str, Any]) -> Iterator[str]:
    ports = [port.get("targetPort") for port in spec.get("ports", ())]
    ports += [port["port"] for rule in spec.get("ingress", ()) for port in rule.get("ports", ())]
    ports += [each["port"] for each in spec.get("podMetricsEndpoints", ())]
    return (port for port in ports if isinstance(port, str))
