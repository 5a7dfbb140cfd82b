"""The right-sizing lever: what it owns, when it may act, what it waits for, and the order of its way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.clients.kubernetes import DISRUPTION_BUDGET
from include.levers import checks, workloads
from include.levers.base import Dollars, ManifestLever
from include.levers.node_costs import node_facts, usd_hour
from include.levers.nodes.requests import show_cpu, shown
from include.levers.owned import Item, Report, by_key, identity
from include.levers.probes import Probe
from include.levers.right_sizing import agreement, figures, live, preflight, restore
from include.levers.right_sizing.sizes import in_mib
from include.levers.right_sizing.survey import from_text, survey
from include.levers.right_sizing.wanted import (
    CANARY,
    IN_PLACE,
    MANAGER,
    NAME,
    NEW_PODS,
    PREDICTOR,
    RECOMMEND,
    SLOTS,
    RightSizingSettings,
    World,
    canary_of,
    mode_of,
    vpa,
    vpa_key,
)
from include.levers.workloads import replicas_of
from include.levers.world import deployments, standing
from include.prices import load_aws_book, usd_month
from include.rollout.lever import Check, Difference, Json, Refused, Stage, kept

NO_MONEY = "no dollars by itself: nodes cost what they cost; consolidation turns what is freed into fewer nodes"
PLACE_OF_CHANGE = (
    "requests change alone: limits stay, since what a replica serves was measured at them; templates stay, so that a "
    "rollback has the old requests, and a new pod gets the recommended ones from VPA's webhook"
)


class RightSizing(ManifestLever[RightSizingSettings]):
    """Requests that follow use: VPA recommends, then sizes new pods, then running ones in place, a canary first.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws, for spot prices).
    """

    name = NAME
    manager = MANAGER
    slots = SLOTS
    settings_type = RightSizingSettings
    # An autoscaler that goes after the requests would set replicas back on pods of the wrong size.
    undo_after: tuple[str, ...] = ("predictive_scaling",)

    def facts(self, world: World) -> dict[str, Json]:
        """``sized``: each Deployment with its container, the template's requests, its floor and its highest mode."""
        return {"sized": agreement.kept_of(survey(world))}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Item]:
        """A VerticalPodAutoscaler for each Deployment, in the mode of the slot."""
        sized = facts["sized"]
        canary = canary_of(world.settings.canary, sized)
        return [
            Item(vpa(world.estate, name, mode_of(slot, name, canary, one["highest"]), one["container"], one["floor"]))
            for name, one in sized.items()
        ]

    def since(self, world: World) -> Iterable[Item]:
        """Names alone, so that an undo needs neither Prometheus nor the Deployments."""
        return [Item(identity(vpa_key(world.estate, name))) for name in (*world.estate.workloads, PREDICTOR)]

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :func:`figures.probes`."""
        return figures.probes(slot, world.estate)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``akidb-grpc: running pods are resized in place``."""
        sized = agreement.sized_at_all(live["sized"])
        canary, names = canary_of(world.settings.canary, sized), " and ".join(sized)
        if slot == RECOMMEND:
            return f"{' and '.join(live['sized'])}: VPA recommends, nothing changes"
        if slot == NEW_PODS:
            return f"{names}: new pods get the recommended requests"
        return f"{canary if slot == CANARY else names}: running pods are resized in place"

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """The nodes now, and the same nodes after: fewer of them are consolidation's."""
        del live
        book, usd = load_aws_book(world.estate), usd_hour(world, node_facts(world))[0]
        month = None if usd is None else usd_month(usd)
        return Dollars(month, month, f"{book.name} ({book.date})")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What it frees by our own figure, what keeps it from more, and what a budget or a mode holds back."""
        found = survey(world)
        lines = [line for one in found.values() for line in one.notes]
        lines += agreement_notes(world, live["sized"])
        return [PLACE_OF_CHANGE, *freed(world, live["sized"]), NO_MONEY, *lines, *_unscaled(world)]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """VPAs that resize in place already are not taken back on the way: only the last slot is written again."""
        names = agreement.sized_at_all(live["sized"])
        entries = by_key(live["objects"])
        modes = [_mode(entries.get(vpa_key(world.estate, name))) for name in names]
        stands = bool(modes) and all(
            m == mode_of(SLOTS[-1], "", "", names[n]["highest"]) for n, m in zip(names, modes, strict=True)
        )
        return tuple(self.stage(world, slot, live) for slot in (SLOTS[-1:] if stands else SLOTS))

    def before_apply(self, world: World, stage: Stage) -> None:
        """From the second slot on: the recommendations are there, fresh, ours too, and not starved."""
        sized = agreement.sized_at_all(self.facts(world)["sized"])
        if stage.slot == RECOMMEND:
            agreement.refuse(world, agreement.stale(world))
            starved = [line for name, one in sized.items() for line in agreement.starved(world, name, one)]
            agreement.refuse(world, [*thin_lines(world, sized), *starved])
        elif sized:
            agreement.check_actionable(world, sized)

    def settle(self, world: World, stage: Stage) -> None:
        """Wait for recommendations, then for what a new pod gets, then for the running pods."""
        sized = agreement.sized_at_all(self.facts(world)["sized"])
        space = world.estate.namespace
        if stage.slot == RECOMMEND:
            world.await_all(lambda: agreement.without_recommendation(world, sized), "VPA's recommendations", space)
            return
        world.await_all(lambda: live.unsized_new_pods(world, sized), "sizing new pods", space)
        resized = resizing(stage.slot, world.settings.canary, sized)
        if resized:
            world.wait_for(lambda: live.unsized_pods(world, resized), "resizing the running pods in place")

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The running pods by what they request, and recommendations at a bound."""
        del stage
        sized = facts["sized"]
        return {"pods": live.counted(world, sized), "notes": agreement_notes(world, sized)}

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world)

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """The VPAs go first, so that nothing sets the new requests again; then every running pod is sized back."""
        old = restore.to_size_back(world, snapshot, objects)
        steps = self.set_back(world, objects, report)
        return [*steps, *restore.size_back(world, restore.old_requests(world, old, report))]

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """Running pods that don't have their old requests."""
        old = restore.to_size_back(world, snapshot, by_key(kept(snapshot, "objects")))
        return restore.pods_left(world, restore.old_requests(world, old, []))

    def look(self, world: World) -> list[Check]:
        """In the order in which a person would repair them: what it rests on, then VPA, the pods, and their use."""
        found = checks.several(world, preflight.FIRST)
        if not all(check.passed for check in found):
            return found
        pods = checks.several(world, {**preflight.OF_VPA, **preflight.OF_THE_PODS})
        has_sizes = all(check.passed for check in pods if check.name.startswith("requests"))
        rest = {**preflight.OF_THE_USE, "objects' owners": self._owners, "manifests accepted": self.dry_run_check}
        return [*found, *pods, *(checks.several(world, rest) if has_sizes else []), *checks.several(world, LAST)]

    def _owners(self, world: World) -> Iterator[Check]:
        yield from self.owner_checks(world, "set its fields back", "leave them out in {owner}, then")


LAST = {
    "metrics": lambda world: checks.series_exist(world, checks.request_series(world) | checks.own_series(world)),
    "prices": checks.prices,
}


def _mode(entry: Json) -> str:
    spec = ((entry or {}).get("ours") or {}).get("spec") or {}
    return str((spec.get("updatePolicy") or {}).get("updateMode", ""))


def resizing(slot: str, canary: str, sized: Mapping[str, Json]) -> dict[str, Json]:
    """Those whose running pods the updater resizes in a slot."""
    acted = figures.acted_on(slot, canary, sized)
    return {name: one for name, one in acted.items() if one["highest"] == IN_PLACE}


def thin_lines(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Deployments of which days of use are missing, a line each."""
    names = [name for name in sized if name != PREDICTOR]
    use = agreement.use_of(world, names) if names else {}
    days = {name: agreement.thin(world, use[name], sized[name]["container"]) for name in names}
    return [f"{name}: its use is not known for {found}: {agreement.THIN}" for name, found in days.items() if found]


def agreement_notes(world: World, sized: Mapping[str, Json]) -> list[str]:
    """Recommendations that a floor or a bound decides; none while there are no recommendations."""
    return [line for name, one in sized.items() for line in agreement.at_bounds(world, name, one)]


def freed(world: World, sized: Mapping[str, Json]) -> list[str]:
    """What each Deployment's pods request now and by our own figure, and what that frees in all, lines."""
    names = [name for name in agreement.sized_at_all(sized) if name != PREDICTOR]
    try:
        use = agreement.use_of(world, names)
        own = {name: agreement.own_figure(world, use[name], sized[name]["container"]) for name in names}
    except Refused as error:
        return [f"what it frees is not known: {error}"]
    lines, cpu, memory = [], Decimal(0), Decimal(0)
    for name, deployment in standing(world, names).items():
        now, count = from_text(sized[name]["requests"]), replicas_of(deployment)
        after = _within(
            own[name], from_text(sized[name]["floor"]), agreement.most_of(world, name, sized[name]["container"])
        )
        cpu, memory = cpu + count * (now["cpu"] - after["cpu"]), memory + count * (now["memory"] - after["memory"])
        lines.append(f"{name}: {shown(now)} -> about {in_mib(after)} a pod, {count} pods")
    return [
        *lines,
        f"about {show_cpu(cpu.quantize(Decimal('0.001')))} CPU and {memory / 2**30:.1f} GiB of requests are freed",
    ]


def _within(
    own: Mapping[str, Decimal], least: Mapping[str, Decimal], most: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    return {name: min(most[name], max(least[name], value)) for name, value in own.items()}


def _unscaled(world: World) -> list[str]:
    budgets = world.cluster.list(DISRUPTION_BUDGET, world.estate.namespace)
    bare = [name for name, found in deployments(world).items() if not workloads.template_budgets(found, budgets)]
    return [f"no PodDisruptionBudget holds VPA's evictions of {', '.join(bare)} back"] if bare else []
