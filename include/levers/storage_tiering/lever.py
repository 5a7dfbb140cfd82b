"""Model versions that no longer serve in the class of S3 that costs least over the time that they are still kept.

Chosen are prefixes, one rule for each version: S3's lifecycle filters know prefix, tag and size and no exception, so
that whatever is to stay must be in no rule. Tags would need a write to every object, the right to change tags, and a
fee, and two writers of one object's tags would lose each other's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.levers.base import Dollars, ManifestLever
from include.levers.owned import Report, Thing
from include.levers.price_tables import PriceTable, price_table
from include.levers.probes import Probe
from include.levers.storage_tiering import bucket, choices, figures
from include.levers.storage_tiering.decide import STANDARD, ClassPrice, Sizes, copy_back, prices_of
from include.levers.storage_tiering.lifecycle import LIFECYCLES, Rules, is_of_old_form
from include.levers.storage_tiering.settings import StorageSettings, World
from include.prices import PlanBook
from include.rollout.lever import Check, Difference, Json, Refused, Stage, Target, Undo, kept
from include.rollout.place import PlaceKind

(RULES,) = SLOTS = ("rules",)
PRICES = "aws_s3.csv"
MOST_LINES = 100  # of a plan's notes about single versions


class StorageTiering(ManifestLever[StorageSettings]):
    """The models' bucket. ``target.clients`` needs ``aws`` (Aws), with S3 and, for a measured share, CloudWatch."""

    name, slots, settings_type = "storage_tiering", SLOTS, StorageSettings
    acts_in, needs, undo_class = PlaceKind.ESTATE, frozenset({"aws"}), Undo.COPY_BACK
    first_check = ("models' bucket reachable", bucket.reachable)

    def facts(self, world: World) -> dict[str, Json]:
        """The rules for what pays now. What lies in the bucket besides may change until they are written."""
        found = _choices(world, _survey(world))
        return {"rules": choices.rules_for(found, world.settings.models_older_than_days)}

    def snapshot(self, target: Target) -> dict[str, Json]:
        """With where every version's objects lie, so that an undo can tell what has moved since."""
        return {**super().snapshot(target), "versions": bucket.versions(self.world(target))}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """All of our rules."""
        del slot
        return [Rules(world.estate.edge.models.bucket, facts["rules"])]

    def thing(self, key: str, was: Json) -> Thing:
        """The rules of a snapshot's bucket."""
        del was
        return Rules(key.partition(" ")[2])

    def since(self, world: World) -> Iterable[Thing]:
        """The rules of the estate's bucket; nothing else is asked for, so that an undo needs no champion."""
        return [Rules(world.estate.edge.models.bucket)]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """None where nothing pays and no rule of ours stands."""
        standing = any((thing["was"] or {}).get("rules") for thing in live["objects"])
        return super().stages(world, live) if live["rules"] or standing else ()

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """What a person reads."""
        del slot
        count = len(live["rules"])
        return f"{count} lifecycle rules in {world.estate.edge.models.bucket}, one a version; S3 moves once a day"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """The rules stand, the champions can be read, and nothing that is kept is under a rule."""
        del world, slot
        return figures.probes()

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """All versions before and after, by list price, reading back included."""
        del live
        table, survey = price_table(PRICES), _survey(world)
        before, after = choices.months(survey["versions"], _choices(world, survey), _prices(world, table))
        return Dollars(before, after, f"{table.book}, list prices of S3")

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """Objects and dollars, what stays and why, and what the figures rest on."""
        del live
        survey, table, plan = _survey(world), price_table(PRICES), PlanBook().component("s3")
        lines = list(choices.in_words(_choices(world, survey)))
        if len(lines) > MOST_LINES:
            lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more lines: see the rules in the ledger"]
        return [
            *lines,
            *_stays(world, survey),
            f"read back: {_share(world):.2%} of the bytes a month ({_origin(world)})",
            f"the plan has S3 at ${plan.week_13} -> ${plan.week_14} a month, for all buckets",
            "S3 moves objects about once a day: an undo within hours finds nothing moved; what has moved stays, and "
            "its minimum duration is charged",
            *filter(None, [table.warning(world.now())]),
        ]

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The rules that were written: what the gates look for."""
        del world, stage
        return {"rules": sorted(facts["rules"])}

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`figures.evidence`."""
        return figures.evidence(world, _prices(world, price_table(PRICES)))

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Our rules as they were; what has moved by then is named with what copying it back costs."""
        steps = self.set_back(world, objects, report)
        report += self.left(world, snapshot)
        return steps

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """What lies in another class than it did: no rule brings it back."""
        before, now = kept(snapshot, "versions"), bucket.versions(world)
        return [line for prefix in before for line in _moved(world, prefix, before[prefix], now.get(prefix))]

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """In the order in which a person would repair them."""
        return {
            "storage prices": _priced,
            "model versions": _found,
            "champions": figures.champions_readable,
            "read back": _measured,
            "others' rules": _others,
        }


# What a plan rests on ------------------------------------------------------------------------------------------------


def _survey(world: World) -> dict[str, Json]:
    """What lies in the bucket, and what of it stays and why: see :func:`choices.choices`."""
    document, _ = LIFECYCLES.read(world, world.estate.edge.models.bucket)
    found = bucket.versions(world)
    champions = {region: bucket.champion(world, region) for region in bucket.regions(found)}
    others = {prefix: bucket.others_of(document or {"Rules": []}, prefix) for prefix in found}
    movers = {prefix: bucket.mover(rules) for prefix, rules in others.items()}
    ends = {prefix: bucket.deleted_at(rules, found[prefix]["modified"]) for prefix, rules in others.items()}
    return {
        "versions": found,
        "kept": choices.kept(found, champions, world.settings),
        "served": _served(world, found),
        "moved_by_others": {prefix: name for prefix, name in movers.items() if name},
        "deleted_at": {prefix: end for prefix, end in ends.items() if end},
    }


def _served(world: World, found: Mapping[str, Json]) -> list[str]:
    """The versions that a region may fall back to, so that they must be readable at once: all where nobody knows."""
    former = {region: bucket.former_champions(world, region) for region in bucket.regions(found)}

    def may_serve(one: Mapping[str, Json]) -> bool:
        known = former[one["region"]]
        return known is None or one["version"] in known

    return [prefix for prefix, one in found.items() if may_serve(one)]


def _choices(world: World, facts: Mapping[str, Json]) -> list[choices.Choice]:
    prices = _prices(world, price_table(PRICES))
    return choices.choices(facts, prices, world.settings, _share(world), world.now())


def _prices(world: World, table: PriceTable) -> dict[str, ClassPrice]:
    return prices_of(table, bucket.location(world))


def _share(world: World) -> Decimal:
    settings = world.settings
    return bucket.measured_share(world) if settings.models_metrics_filter else settings.models_retrieved_share_month


def _origin(world: World) -> str:
    name = world.settings.models_metrics_filter
    return f"measured by request metrics {name}" if name else "setting models_retrieved_share_month"


def _stays(world: World, survey: Mapping[str, Json]) -> Iterator[str]:
    """What moves in no rule of ours, and why."""
    for prefix, why in sorted(survey["kept"].items()):
        yield f"{prefix} stays: {why}"
    for line in choices.archived(survey["versions"], survey["kept"]):
        yield f"archived already, by somebody else: {line}; restore and copy it to STANDARD before it is needed"
    for prefix, name in sorted(survey["moved_by_others"].items()):
        yield f"{prefix} is left alone: rule {name} of others may move it"
    least, now = world.settings.models_older_than_days, world.now()
    young = [name for name, one in survey["versions"].items() if bucket.days_old(one, now) < least]
    young = [name for name in young if name not in survey["kept"]]
    if young:
        yield f"{len(young)} more younger than {least} days, for a later run: {', '.join(young)}"


# Undo ----------------------------------------------------------------------------------------------------------------


def _moved(world: World, prefix: str, before: Json, now: Json | None) -> Iterator[Difference]:
    """For each class that has more of a version's objects than it had: what is there, and what the way back costs."""
    for name, sizes in (now or {"sizes": {}})["sizes"].items():
        came = Counter(dict(sizes)) - Counter(dict(before["sizes"].get(name, [])))
        if name != STANDARD and came:
            where = f"Objects {world.estate.edge.models.bucket} {prefix} {name}"
            text = f"{sum(came.values())} of its objects stay in {name}; {_way_back(world, name, sorted(came.items()))}"
            yield Difference(where, STANDARD, text)


def _way_back(world: World, name: str, sizes: Sizes) -> str:
    try:
        prices = _prices(world, price_table(PRICES))
        once, charged = copy_back(sizes, prices[name], prices[STANDARD])
    except (KeyError, ValueError):
        return "what copying them back costs is not known"
    hours = prices[name].restore_hours
    restored = f" after a restore of up to {hours} hours" if hours else ""
    rest = f"and at most ${choices.money(charged)} for the rest of the {prices[name].min_days} days"
    return f"copying them back{restored} costs ${choices.money(once)}, {rest}"


# Preflight -----------------------------------------------------------------------------------------------------------


def _priced(world: World) -> Iterator[Check]:
    table = price_table(PRICES)
    prices = _prices(world, table)
    yield Check("storage prices", True, table.warning(world.now()) or f"{len(prices)} classes in {table.book}")


def _found(world: World) -> Iterator[Check]:
    models, found = world.estate.edge.models, bucket.versions(world)
    where = f"s3://{models.bucket}/{models.prefix}models/<region>/versions/"
    if not found:
        remedy = "correct edge.models in estate.yaml: bucket, and prefix with its last slash"
        yield Check("model versions", False, f"no version lies in {where}", remedy)
        return
    choices.kept(found, {}, world.settings)
    yield Check("model versions", True, f"{len(found)} versions in {where}")


def _measured(world: World) -> Iterator[Check]:
    yield Check("read back", True, f"{_share(world):.2%} of the bytes a month ({_origin(world)})")


def _others(world: World) -> Iterator[Check]:
    document, _ = LIFECYCLES.read(world, world.estate.edge.models.bucket)
    if document is None:
        raise Refused(f"bucket {world.estate.edge.models.bucket} does not exist: correct edge.models.bucket")
    old = sorted(rule["ID"] for rule in document["Rules"] if is_of_old_form(rule))
    if old and choices.rules_for(_choices(world, _survey(world)), world.settings.models_older_than_days):
        reason = f"{', '.join(old)} give a prefix without a filter: S3 takes no rule with a filter beside them"
        yield Check("others' rules", False, reason, "have their owner write them anew, the same prefix in a filter")
        return
    names = {rule["ID"] for prefix in bucket.versions(world) for rule in bucket.others_of(document, prefix)}
    yield Check("others' rules", True, f"may apply to versions: {', '.join(sorted(names)) or 'none'}; they stay")
