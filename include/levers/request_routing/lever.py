"""The routing lever: weights of an HTTPRoute and of the region's record set, first a part of the way, then all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.levers import checks
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.owned import Item, Thing, by_key, identity, key_of, read
from include.levers.probes import Probe
from include.levers.request_routing import figures, preflight
from include.levers.request_routing.backends import Backend, mixture_p95, usd_million
from include.levers.request_routing.live import backends, last_service, services
from include.levers.request_routing.money import PLAN, month_millions, peak_qps
from include.levers.request_routing.optimum import Demand
from include.levers.request_routing.record import record_weight_of, records
from include.levers.request_routing.settings import ALL, CANARY, MANAGER, NAME, SLOTS, RoutingSettings, World
from include.levers.request_routing.wanted import (
    is_theirs,
    noted,
    record_weights,
    route,
    route_identity,
    standing,
)
from include.levers.request_routing.weights import (
    WHOLE,
    Weights,
    healed,
    next_weights,
    on_the_way,
    prompt_qps,
    record_weight,
)
from include.levers.world import Object
from include.prices import load_aws_book
from include.rollout.lever import Check, Json, Refused, Stage, Undo

RECORD = "RecordSet"


class RequestRouting(ManifestLever[RoutingSettings]):
    """Who serves the routed workload's requests in a region, and how many of all regions' come there.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws, for Route 53 and
    spot prices).
    """

    name, manager, slots, settings_type = NAME, MANAGER, SLOTS, RoutingSettings
    undo_class = Undo.INSTANT

    def facts(self, world: World) -> dict[str, Json]:
        """The weights of both stages, what they replace, and why a Service gets nothing."""
        found, unused = backends(world)
        live, estate = read(world, route_identity(world.estate)), world.estate
        demand, share = self._demand(world), world.settings.share_within_budget
        now = standing(estate, live)
        last = last_service(estate)
        weights, best = next_weights(now, found, demand, share, world.settings.least_routing_gain, last)
        before = now or {name: WHOLE * (name == last) for name in services(estate)}
        canary = on_the_way(healed(before, unused, last), weights, world.settings.canary_route_percent / 100)
        rules = live["spec"].get("rules") if live and is_theirs(live) else None
        return {
            "weights": weights,
            "canary": canary,
            "before": before,
            "fallback": best.fallback,
            "unused": unused,
            "rules": rules,
            **self._record_facts(world, live, found, demand, share),
        }

    @staticmethod
    def _demand(world: World) -> Demand:
        return Demand(world.settings.routed_qps or peak_qps(world.estate), world.settings.latency_budget_ms)

    @staticmethod
    def _record_facts(
        world: World, live: Object | None, found: Sequence[Backend], demand: Demand, share: float
    ) -> dict[str, Json]:
        """The weight that this region's record sets are to have, and the route's annotation that goes with it."""
        known, noted_before = records(world), record_weights(live)
        now = next(iter(known.values()), None)
        if now is None:
            return {"records": [], "record_weight": None, "noted": " ".join(map(str, noted_before)), "note": ""}
        ours = now in noted_before
        before = noted_before[0] if ours else now
        pods = [backend for backend in found if backend.name == last_service(world.estate)]
        every, own = (prompt_qps(some, demand.budget_ms, share) for some in (found, pods))
        new = record_weight(before, every, own, noted_before[-1] if ours and len(noted_before) > 1 else None)
        note = noted(noted_before if ours else (), before, new)
        stays = " ".join(map(str, noted_before if ours else (now,)))
        return {"records": sorted(known), "record_weight": new, "noted": stays, "note": note}

    def facts_for(self, world: World, stage: Stage) -> dict[str, Json]:
        """The live facts, with the weights that were approved for the stage."""
        slot = "canary" if stage.slot == CANARY else "weights"
        return {**self.facts(world), slot: stage.settings["weights"]}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """The route; in the last slot then the record sets, whose new weight the route has noted by then."""
        note = facts["note"] if slot == ALL and world.settings.weigh_region else facts["noted"]
        weights = facts["weights" if slot == ALL else "canary"]
        things: list[Thing] = [route(world.estate, weights, facts["rules"], note)]
        if slot == ALL:
            weight, is_wanted = facts["record_weight"], world.settings.weigh_region
            things += [record_weight_of(name, weight, is_wanted) for name in facts["records"]]
        return things

    def thing(self, key: str, was: Json) -> Thing:
        """A record set's weight, or the route."""
        kind, _, name = key.partition(" ")
        return record_weight_of(name) if kind == RECORD else super().thing(key, was)

    def since(self, world: World) -> Iterable[Thing]:
        """The route: it may have come since, and nothing has to be read to undo it."""
        return [Item(identity(key_of(route_identity(world.estate))))]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """Both, or none where everything stands already."""
        entries = by_key(live[OBJECTS])
        things = [thing for thing in self.everything(world, live) if thing.wanted]
        if not any(thing.differences(entries[thing.key]) for thing in things):
            return ()
        weights = {CANARY: live["canary"], ALL: live["weights"]}
        return tuple(self.stage(world, slot, live, weights=weights[slot]) for slot in SLOTS)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """``akidb-rest's requests: akidb-jetson 15.0 %, akidb-rest 85.0 %``."""
        weights: Weights = live["weights" if slot == ALL else "canary"]
        shown = ", ".join(f"{name} {weight / WHOLE:.1%}" for name, weight in weights.items() if weight)
        way = "" if slot == ALL else f"{world.settings.canary_route_percent} % of the way: "
        return f"{way}{world.estate.edge.routing.workload}'s requests: {shown}"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :func:`figures.probes`."""
        del slot
        return figures.probes(world.estate)

    def before_apply(self, world: World, stage: Stage) -> None:
        """Nobody is given requests who has fallen ill since the approval."""
        unused = backends(world)[1]
        ill = [reason for name, reason in unused.items() if stage.settings["weights"].get(name)]
        if ill:
            raise Refused(f"{world.place}: {'; '.join(ill)}: repair it, or start again for other weights")

    def settle(self, world: World, stage: Stage) -> None:
        """Wait until the gateway has taken the route, and Prometheus sees whom it leads to."""
        world.await_all(lambda: figures.not_accepted(world), "the route")
        world.await_all(lambda: figures.unserved(world, stage.settings["weights"]), "requests by backend")

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """See :class:`ManifestLever`; from when on the weights decide who is given a request."""
        return {**super().applied(world, stage, facts), figures.IN_EFFECT: world.now()}

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """A month's requests by the weights before and after, in the chosen book."""
        found, millions = backends(world)[0], month_millions(world.estate)
        before, after = (usd_million(live[which], found) * millions for which in ("before", "weights"))
        book = load_aws_book(world.estate)
        name = "plan" if world.settings.routing_prices == PLAN else f"{book.name} ({book.date}), live nodes"
        return Dollars(_cents(before), _cents(after), name)

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What the dollars mean, what the mixture takes, and who gets nothing."""
        found, demand = backends(world)[0], self._demand(world)
        usd = ", ".join(f"{backend.name} {backend.usd_million:.4f}" for backend in found)
        lines = [
            f"USD per million requests: {usd}; pods cost less only where their number follows the requests (day 2)",
            f"made for {demand.qps:.0f} requests/s: P95 of the mixture {mixture_p95(live['weights'], found):.1f} ms by "
            f"the estate's latencies, {world.settings.share_within_budget:.0%} must keep to {demand.budget_ms:g} ms",
            *(f"{name} gets no requests: {reason}" for name, reason in live["unused"].items()),
            *([live["fallback"]] if live["fallback"] else ()),
        ]
        several = [
            f"{' and '.join(names)} share Service {s}" for s, names in services(world.estate).items() if names[1:]
        ]
        lines += [f"{line}: Kubernetes spreads its requests over their pods by number" for line in several]
        return lines if live["records"] else [*lines, "no weighted record set of this region: the regions' shares stay"]

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world)

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """In the order in which a person would repair them."""
        return {
            "gateway": preflight.gateway,
            "route": preflight.route,
            "backends": preflight.services_well,
            "weights": lambda world: preflight.decision(self.facts(world)),
            "objects' owners": lambda world: self.owner_checks(world, "undo the change", "pause it in {owner}, or"),
            "manifests accepted": self.dry_run_check,
            "demand": preflight.demand,
            "record set": preflight.record_sets,
            "prices": checks.prices,
            "metrics": lambda world: checks.series_exist(world, checks.request_series(world)),
        }


def _cents(usd: Decimal) -> Decimal:
    return usd.quantize(Decimal("0.01"))
