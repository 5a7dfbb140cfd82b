"""Route 53's health checks at the cheapest settings that still serve, once for the estate.

Interval, type and latency can't be changed after creation: each check is replaced, what uses it is switched, and the
old one goes last. What it costs is time: a failure is noticed after interval x failure threshold.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from include.estate import Estate
from include.levers import route53
from include.levers import world as worlds
from include.levers.base import Dollars, ManifestLever
from include.levers.edge_settings import EdgeSettings
from include.levers.fields import Object
from include.levers.manifests import filled
from include.levers.owned import Thing
from include.levers.price_tables import too_old
from include.levers.probes import GateWindow, Probe
from include.levers.replaced import Outdated, Replaced
from include.levers.route53 import CHECKS, checks_used, health_checks, settings_of
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Json, Undo
from include.rollout.place import PlaceKind

SWITCHED, OLD_DELETED = SLOTS = ("switched", "old_deleted")
FAST = 10  # seconds between two requests of one checker; the normal interval is 30
PRICES = "dns_health_checks/prices.yaml"


class DnsSettings(EdgeSettings):
    """What a person may choose for one run."""

    hosted_zone: str = Field(min_length=1, description="Zone whose record sets' checks are changed")
    request_interval: Literal[10, 30] = Field(30, description="Seconds between two requests of one checker")
    measure_latency: bool = Field(False, description="Keep Route 53's latency graphs")
    keep_string_matching: bool = Field(True, description="Off: a status code is enough, no text is looked for")
    keep_https: bool = Field(True, description="Off: HTTPS checks become TCP checks of the same port")
    aws_endpoints: tuple[str, ...] = Field(description="Patterns of names and addresses that lead to AWS: cheaper")

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        return estate.dns.model_dump()


World = worlds.World[DnsSettings]


def cheapest(settings: Object, chosen: DnsSettings) -> Object:
    """The settings of an endpoint's check as chosen; those of any other kind of check as they are."""
    kind = settings["Type"]
    if "RequestInterval" not in settings:
        return settings
    found = {**settings, "RequestInterval": chosen.request_interval, "MeasureLatency": chosen.measure_latency}
    if not chosen.keep_string_matching:
        kind = kind.removesuffix("_STR_MATCH")
    if not chosen.keep_https and kind == "HTTPS":
        kind = "TCP"
    is_tcp = kind == "TCP"
    dropped = {"SearchString": not kind.endswith("_STR_MATCH"), "ResourcePath": is_tcp, "EnableSNI": is_tcp}
    return {key: value for key, value in {**found, "Type": kind}.items() if not dropped.get(key)}


def options(settings: Object) -> list[str]:
    """The options of a check that are paid for."""
    kind = settings["Type"]
    chosen = {
        "HTTPS": kind.startswith("HTTPS"),
        "string matching": kind.endswith("_STR_MATCH"),
        "fast interval": settings.get("RequestInterval") == FAST,
        "latency graphs": bool(settings.get("MeasureLatency")),
    }
    return [name for name, paid in chosen.items() if paid]


def usd_by_part(checks: Iterable[Object], chosen: DnsSettings, prices: Mapping[str, Any]) -> dict[str, Decimal]:
    """USD a month of an account's checks: the checks themselves, and each option. The first ones of AWS are free."""
    count, parts = {"aws": 0, "other": 0}, {"checks": Decimal(0)}
    for settings in checks:
        kind = _kind(settings, chosen, prices)
        count[kind] += 1
        for name in options(settings):
            parts[name] = parts.get(name, Decimal(0)) + Decimal(prices["feature"][kind])
    for kind, number in count.items():
        parts["checks"] += max(0, number - int(prices["free"][kind])) * Decimal(prices["basic"][kind])
    return parts


def _kind(settings: Object, chosen: DnsSettings, prices: Mapping[str, Any]) -> str:
    """Whether a check's endpoint lies within AWS. One without an endpoint (calculated, of an alarm) costs as much."""
    patterns = (*prices["aws_endpoints"], *chosen.aws_endpoints)
    names = [settings[key] for key in ("FullyQualifiedDomainName", "IPAddress") if key in settings]
    within = not names or any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
    return "aws" if within else "other"


def usd_month(checks: Iterable[Object], chosen: DnsSettings, prices: Mapping[str, Any]) -> Decimal:
    """USD a month of an account's checks."""
    return sum(usd_by_part(checks, chosen, prices).values(), Decimal(0))


def noticed_after(settings: Object) -> int:
    """Seconds until a failed endpoint counts as unhealthy."""
    return int(settings.get("RequestInterval", 30)) * int(settings.get("FailureThreshold", 3))


# The lever -----------------------------------------------------------------------------------------------------------


class DnsHealthChecks(ManifestLever[DnsSettings]):
    """The health checks that the zone's record sets use. ``target.clients`` needs ``aws`` (Aws)."""

    name, slots, settings_type = "dns_health_checks", SLOTS, DnsSettings
    acts_in, needs, undo_class = PlaceKind.ESTATE, frozenset({"aws"}), Undo.MINUTES
    first_check = ("Route 53 reachable", route53.reachable)

    def facts(self, world: World) -> dict[str, Json]:
        """The checks in use with their users, and those that one of ours replaces and nobody uses."""
        checks, outdated = route53.zone_checks(world, world.settings.hosted_zone)
        return {"checks": checks, "outdated": outdated}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """New checks beside the old ones; then the old ones gone."""
        if slot == OLD_DELETED:
            return [Outdated(CHECKS, name) for name in facts["outdated"]]
        found = facts["checks"].items()
        return [Replaced(CHECKS, n, cheapest(now["settings"], world.settings), known=now) for n, now in found]

    def thing(self, key: str, was: Json) -> Thing:
        """A check of a snapshot; its settings from before are in the entry."""
        del was
        return Replaced(CHECKS, key.partition(" ")[2], {})

    def since(self, world: World) -> Iterable[Thing]:
        """Checks that a lever has replaced, in whichever zone."""
        olds = {old for check in health_checks(world).values() if (old := route53.replaced_by(check))}
        return [Replaced(CHECKS, old, {}) for old in sorted(olds)]

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """What a person reads."""
        if slot == OLD_DELETED:
            return "the checks that were replaced are deleted: an undo makes them anew, under another id"
        return f"{len(live['checks'])} checks of {world.settings.hosted_zone} replaced, their users switched"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """Every check in use exists and is healthy."""
        del world, slot
        most = Comparison.AT_MOST
        healthy = Gate("unhealthy_checks", most, 0, "checks", 1, "every endpoint must answer", safety=True)
        known = Gate("records_without_check", most, 0, "records", 1, "every check must exist", safety=True)
        return [Probe(healthy, _unhealthy), Probe(known, _without_check)]

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """All checks of the account before and after, since the free ones are the account's."""
        prices, (before, after) = filled(PRICES, {}), self._before_and_after(world, live)
        book = f"Route 53 list prices ({prices['as_of']})"
        return Dollars(usd_month(before, world.settings, prices), usd_month(after, world.settings, prices), book)

    def _before_and_after(self, world: World, live: Mapping[str, Json]) -> tuple[list[Object], list[Object]]:
        """The settings of every check of the account as they are, and as they are to be."""
        every = {name: settings_of(check) for name, check in health_checks(world).items()}
        after = [
            cheapest(now, world.settings) if name in live["checks"] else now
            for name, now in every.items()
            if name not in live["outdated"]
        ]
        return list(every.values()), after

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What the saving costs, what it is made of, and what more could be saved by hand."""
        found = [(name, known["settings"]) for name, known in live["checks"].items()]
        late = [(name, noticed_after(now), noticed_after(cheapest(now, world.settings))) for name, now in found]
        lines = [f"{name}: a failure is noticed after {new} s, not {now} s" for name, now, new in late if now != new]
        seen = "only this account is looked at: a check that another account's record sets use would be lost to them"
        prices = filled(PRICES, {})
        old = too_old("Route 53's health checks", prices["as_of"], prices["source"], world.now())
        both = "until the old checks are deleted both are paid for"
        more = _by_hand(world, live, prices)
        return [*lines, self._parts(world, live, prices), *more, both, seen, *filter(None, [old])]

    def _parts(self, world: World, live: Mapping[str, Json], prices: Mapping[str, Any]) -> str:
        before, after = (usd_by_part(all_, world.settings, prices) for all_ in self._before_and_after(world, live))
        shown = (f"{name} ${usd} -> ${after.get(name, Decimal('0.00'))}" for name, usd in before.items())
        return f"a month: {', '.join(shown)}"

    def evidence_of(self, world: World) -> dict[str, Json]:
        """Counts and dollars of the account's checks."""
        every = [settings_of(check) for check in health_checks(world).values()]
        usd = float(usd_month(every, world.settings, filled(PRICES, {})))
        return {"checks": len(every), "paid_features": sum(len(options(one)) for one in every), "usd_month": usd}

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """Is there something to change, and is it well?"""
        return {"health checks": self._well}

    def _well(self, world: World) -> Iterator[Check]:
        zone, used = world.settings.hosted_zone, self.facts(world)["checks"]
        if not used:
            yield Check("health checks", False, f"no record set of {zone} uses one", "correct hosted_zone")
        for name in used:
            ill = CHECKS.missing(world, name)
            remedy = "repair the endpoint first: a new check of it could not be verified" if ill else ""
            yield Check(f"health check {name}", not ill, "; ".join(ill) or "healthy", remedy)


def _by_hand(world: World, live: Mapping[str, Json], prices: Mapping[str, Any]) -> Iterator[str]:
    """Checks that nothing of this account uses, and checks of one endpoint: fewer would do, but who knows them all?"""
    every = {name: settings_of(check) for name, check in health_checks(world).items()}
    used = {*route53.usage(world, health_checks(world)).values()}
    total = usd_month(every.values(), world.settings, prices)

    def without(names: Sequence[str]) -> Decimal:
        rest = [settings for name, settings in every.items() if name not in names]
        return total - usd_month(rest, world.settings, prices)

    unused = [name for name in every if name not in used and name not in live["outdated"]]
    if unused:
        yield (
            f"{', '.join(unused)}: no record set or calculated check of this account uses it; ${without(unused)} a "
            "month less if you delete it, unless another account or an alarm needs it"
        )
    for names in _alike(every, [name for name in live["checks"] if name in every]):
        yield f"{' and '.join(names)} look at one endpoint alike; one would do, ${without(names[1:])} a month less"


def _alike(every: Mapping[str, Object], names: Iterable[str]) -> list[list[str]]:
    """Groups of checks whose settings are equal."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(json.dumps(every[name], sort_keys=True), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _unhealthy(world: World, window: GateWindow) -> Figure | None:
    del window
    names = route53.endpoints_used(world, world.settings.hosted_zone, health_checks(world))
    ill = [f"{name}: {line}" for name in names for line in CHECKS.missing(world, name)]
    return Figure(len(ill), "checks", len(names), "GetHealthCheckStatus", "; ".join(ill)) if names else None


def _without_check(world: World, window: GateWindow) -> Figure | None:
    del window
    used, every = checks_used(world, world.settings.hosted_zone), health_checks(world)
    lost = [user for user, name in used.items() if name not in every]
    return Figure(len(lost), "records", len(used), "record sets of the zone", ", ".join(lost)) if used else None
