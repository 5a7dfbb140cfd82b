"""Route 53's health checks at the cheapest settings that still serve, once for the estate.

Interval, type and latency can't be changed after creation: each check is replaced, what uses it is switched, and the
old one goes last. What it costs is time: a failure is noticed after interval x failure threshold.
"""

from __future__ import annotations

import fnmatch
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


def features(settings: Object) -> int:
    """How many options of a check are paid for: HTTPS, string matching, fast interval, latency."""
    kind = settings["Type"]
    chosen = (kind.startswith("HTTPS"), kind.endswith("_STR_MATCH"), settings.get("RequestInterval") == FAST)
    return sum((*chosen, bool(settings.get("MeasureLatency"))))


def usd_month(checks: Iterable[Object], chosen: DnsSettings, prices: Mapping[str, Any]) -> Decimal:
    """USD a month of an account's checks; the free ones are basic checks of AWS endpoints."""
    patterns, count, total = (*prices["aws_endpoints"], *chosen.aws_endpoints), {"aws": 0, "other": 0}, Decimal(0)
    for settings in checks:
        names = [settings[key] for key in ("FullyQualifiedDomainName", "IPAddress") if key in settings]
        # Calculated checks and those of an alarm cost as much as one of an AWS endpoint.
        within = not names or any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
        kind = "aws" if within else "other"
        count[kind] += 1
        total += features(settings) * Decimal(prices["feature"][kind])
    for kind, number in count.items():
        total += max(0, number - int(prices["free"][kind])) * Decimal(prices["basic"][kind])
    return total


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
        prices, chosen = filled(PRICES, {}), world.settings
        every = {name: settings_of(check) for name, check in health_checks(world).items()}
        after = [
            cheapest(now, chosen) if name in live["checks"] else now
            for name, now in every.items()
            if name not in live["outdated"]
        ]
        before, book = usd_month(every.values(), chosen, prices), f"Route 53 list prices ({prices['as_of']})"
        return Dollars(before, usd_month(after, chosen, prices), book)

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """What the saving costs."""
        found = [(name, known["settings"]) for name, known in live["checks"].items()]
        late = [(name, noticed_after(now), noticed_after(cheapest(now, world.settings))) for name, now in found]
        lines = [f"{name}: a failure is noticed after {new} s, not {now} s" for name, now, new in late if now != new]
        seen = "only this account is looked at: a check that another account's record sets use would be lost to them"
        return [*lines, "until the old checks are deleted both are paid for", seen]

    def evidence_of(self, world: World) -> dict[str, Json]:
        """Counts and dollars of the account's checks."""
        every = [settings_of(check) for check in health_checks(world).values()]
        usd = float(usd_month(every, world.settings, filled(PRICES, {})))
        return {"checks": len(every), "paid_features": sum(map(features, every)), "usd_month": usd}

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
