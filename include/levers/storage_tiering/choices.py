"""Which version goes where: what is kept, what others move, what pays. Pure functions of what the bucket holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.levers.fields import Object
from include.levers.storage_tiering.bucket import UNREADABLE, days_old, sizes_in
from include.levers.storage_tiering.decide import CLASSES, STANDARD, ClassPrice, Offer, Terms, month_of, offers
from include.levers.storage_tiering.lifecycle import rule
from include.levers.storage_tiering.settings import StorageSettings
from include.prices import DAYS_PER_MONTH
from include.rollout.lever import Json, Refused

TENTHS_OF_CENTS = Decimal("0.001")
COLDER = (STANDARD, *CLASSES)  # S3 moves an object only to the right


@dataclass(frozen=True)
class Choice:
    """The best offer for one version that may move, and what the others would be; it is taken only when it pays."""

    prefix: str
    region: str
    offers: Sequence[Offer]
    age_days: int
    remaining_days: int
    has_moved: bool = False  # a part of it

    @property
    def best(self) -> Offer:
        """The class that saves most, or loses least."""
        return self.offers[0]

    @property
    def pays(self) -> bool:
        """Whether it saves anything over the time that the version is still kept."""
        return self.best.saved > 0


def kept(versions: Mapping[str, Json], champions: Mapping[str, str], settings: StorageSettings) -> dict[str, str]:
    """The prefixes of the versions that stay as they are, each with the reason. Raises Refused for an unknown one."""
    names = {one["version"] for one in versions.values()}
    unknown = [name for name in settings.models_also_keep if name not in names]
    if unknown:
        names_of = ", ".join(unknown)
        raise Refused(f"models_also_keep: {names_of} is no version in the bucket: correct it, or leave it out")
    last: dict[str, list[str]] = {}
    for prefix in versions:  # oldest first
        last.setdefault(versions[prefix]["region"], []).append(prefix)
    newest = {prefix for prefixes in last.values() for prefix in prefixes[-settings.models_keep_versions :]}
    found = {prefix: _why(versions[prefix], champions, prefix in newest, settings) for prefix in versions}
    return {prefix: why for prefix, why in found.items() if why}


def _why(one: Json, champions: Mapping[str, str], is_new: bool, settings: StorageSettings) -> str:
    if one["version"] == champions.get(one["region"]):
        return "champion"
    if is_new:
        return f"one of the last {settings.models_keep_versions}"
    return "named in models_also_keep" if one["version"] in settings.models_also_keep else ""


def archived(versions: Mapping[str, Json], prefixes: Mapping[str, str]) -> list[str]:
    """The kept versions that somebody has archived already, each with what of it."""
    return [
        f"{prefix} ({why}) has {_number(sum(n for _, n in versions[prefix]['sizes'][name]), 'object')} in {name}"
        for prefix, why in prefixes.items()
        for name in UNREADABLE
        if versions[prefix]["sizes"].get(name)
    ]


def choices(
    facts: Mapping[str, Json], prices: Mapping[str, ClassPrice], settings: StorageSettings, share: Decimal, now: float
) -> list[Choice]:
    """What there is to choose for each version that is old enough, is not kept and is nobody else's to move."""
    found = []
    for prefix, one in facts["versions"].items():
        age, sizes = days_old(one, now), sizes_in(one, STANDARD)
        stays = prefix in facts["kept"] or prefix in facts["moved_by_others"] or not sizes
        if stays or age < settings.models_older_than_days:
            continue
        left = _days_left(facts["deleted_at"].get(prefix), settings.models_remaining_days, now)
        hours = 0 if prefix in facts["served"] else settings.models_longest_restore_hours
        made = [o for o in offers(sizes, prices, Terms(left, share), hours) if _moves_no_other(one, o.storage_class)]
        if made:
            found.append(Choice(prefix, one["region"], made, age, left, has_moved=len(one["sizes"]) > 1))
    return found


def _days_left(deleted_at: str | None, most: int, now: float) -> int:
    if deleted_at is None:
        return most
    return max(0, min(most, int((dt.datetime.fromisoformat(deleted_at).timestamp() - now) // 86400)))


def _moves_no_other(one: Mapping[str, Json], storage_class: str) -> bool:
    """Whether a rule for the class would leave alone what lies in other classes: it would move warmer ones too."""
    warmer = COLDER[1 : COLDER.index(storage_class)]
    return all(name in COLDER and name not in warmer for name in one["sizes"])


def rules_for(found: Sequence[Choice], days: int) -> dict[str, Object]:
    """The lifecycle rules for what pays, by ID."""
    made = [rule(one.prefix, one.best.storage_class, one.best.from_bytes, days) for one in found if one.pays]
    return {one["ID"]: one for one in made}


def months(
    versions: Mapping[str, Json], found: Sequence[Choice], prices: Mapping[str, ClassPrice]
) -> tuple[Decimal | None, Decimal | None]:
    """USD a month of all versions before and after, reading back included; None where a class has no price."""
    each = [month_of(one["sizes"], prices) for one in versions.values()]
    known = [usd for usd in each if usd is not None]
    if len(known) < len(each):
        return None, None
    before = sum(known, Decimal(0))
    gain = sum((one.best.before_month - one.best.after_month for one in found if one.pays), Decimal(0))
    return before.quantize(TENTHS_OF_CENTS), (before - gain).quantize(TENTHS_OF_CENTS)


# What a person reads -------------------------------------------------------------------------------------------------


def in_words(found: Sequence[Choice]) -> Iterator[str]:
    """Objects and dollars of each region and class, then of each version; those refused with what they would lose."""
    groups: dict[tuple[str, str], list[Choice]] = {}
    for one in found:
        if one.pays:
            groups.setdefault((one.region, one.best.storage_class), []).append(one)
    for (region, name), members in sorted(groups.items()):
        yield f"{region}: {_number(len(members), 'version')} to {name}: {_figures([one.best for one in members])}"
    for one in found:
        if one.pays:
            yield f"{one.prefix} ({one.age_days} days old) to {one.best.storage_class}: {_figures([one.best])}"
    for one in found:
        if one.has_moved and not one.pays:
            yield f"{one.prefix} has moved; what is left of it is too small to gain"
        elif not one.pays:
            yield f"{one.prefix} stays, every class loses money in its last {one.remaining_days} days: {_losses(one)}"


def _figures(several: Sequence[Offer]) -> str:
    count, size = sum(one.objects for one in several), sum(one.bytes for one in several)
    before, after, once, saved = (
        sum((getattr(one, name) for one in several), Decimal(0))
        for name in ("before_month", "after_month", "once", "saved")
    )
    return (
        f"{_number(count, 'object')}, {size / 1e9:,.2f} GB, ${money(before)} -> ${money(after)} a month, once "
        f"${money(once)} ({_paid_back(once, before - after)}), ${money(saved)} saved while it is kept"
    )


def _paid_back(once: Decimal, gain: Decimal) -> str:
    days = once / gain * DAYS_PER_MONTH if gain > 0 else None
    if days is None:  # what is saved is saved by no longer paying for all of the time
        return "paid back by no month"
    return "paid back within a day" if days <= 1 else f"paid back in {days:.0f} days"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _losses(one: Choice) -> str:
    return "; ".join(f"{offer.storage_class} ${money(-offer.saved)}" for offer in one.offers)


def money(usd: Decimal) -> str:
    """Dollars with cents; of less than a cent, two digits that count."""
    return f"{usd:,.2f}" if abs(usd) >= Decimal("0.01") or not usd else f"{usd:.2g}"
