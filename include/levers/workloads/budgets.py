"""PodDisruptionBudgets: whose pods they select, and what they block. Findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from include.levers.nodes.scheduling import Labels, selects
from include.levers.pods import namespace_of, title_of
from include.levers.workloads.state import Finding
from include.levers.world import Object, name_of


def budgets_of(budgets: Iterable[Object], labels: Labels, namespace: str) -> list[Object]:
    """The PodDisruptionBudgets that select pods with these labels."""
    return [b for b in budgets if namespace_of(b) == namespace and selects(b["spec"].get("selector"), labels)]


def template_budgets(deployment: Object, budgets: Iterable[Object]) -> list[Object]:
    """The PodDisruptionBudgets that select a Deployment's pods."""
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return budgets_of(budgets, labels, namespace_of(deployment))


def unbudgeted_findings(deployment: Object, budgets: Iterable[Object]) -> Iterator[Finding]:
    """A Deployment whose pods no PodDisruptionBudget selects."""
    if not template_budgets(deployment, budgets):
        name = name_of(deployment)
        reason = f"no PodDisruptionBudget selects the pods of {title_of(deployment)}: nodes that go would take too many"
        yield Finding(name, reason, f"make one for it with maxUnavailable 25% in namespace {namespace_of(deployment)}")


def budget_findings(budgets: Sequence[Object], pods: Iterable[Object]) -> Iterator[Finding]:
    """Budgets that would block the eviction of one of ``pods`` for good, or do so now."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for pod in pods:  # pods of one template have equal labels: each set of labels is compared once
        labels = pod["metadata"].get("labels") or {}
        key = (namespace_of(pod), tuple(sorted(labels.items())))
        if key not in seen:
            seen[key] = sorted(
                f"{namespace_of(b)}/{name_of(b)}" for b in budgets_of(budgets, labels, namespace_of(pod))
            )
    for names in sorted({tuple(names) for names in seen.values() if len(names) > 1}):
        reason = f"{' and '.join(names)} select the same pods: the Eviction API refuses such pods"
        yield Finding(names[0], reason, "let one PodDisruptionBudget select each pod")
    used = {name for names in seen.values() for name in names}
    for budget in budgets:
        name = f"{namespace_of(budget)}/{name_of(budget)}"
        if name in used:
            yield from _blocking(name, budget)


def _blocking(name: str, budget: Object) -> Iterator[Finding]:
    spec, status = budget["spec"], budget.get("status") or {}
    if str(spec.get("maxUnavailable")) in ("0", "0%") or str(spec.get("minAvailable")) == "100%":
        yield Finding(name, f"{name} never allows an eviction", "allow at least one pod to be unavailable")
    elif not status.get("disruptionsAllowed"):
        healthy, expected = status.get("currentHealthy"), status.get("expectedPods")
        counts = f"{healthy} of {expected} pods healthy"
        remedy = "wait until its pods are healthy, or add replicas"
        if healthy is None:
            counts, remedy = "its pods are not counted yet", "wait until its controller has counted them"
        elif healthy == expected:
            remedy = "allow at least one pod to be unavailable, or add replicas"
        yield Finding(name, f"{name} allows no eviction now ({counts})", remedy)
