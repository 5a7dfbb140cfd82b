"""What the estate's exports in S3 say of some days: which days are to be made anew, and their partitions.

A day is made of the delivery of its billing period and of later ones that correct it: a correction of a closed period
comes in the file of the period that it is billed in. Which days a file corrects is remembered, so that a day's run
fetches only what concerns it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.table.columns import CostError
from include.cost.table.store import CostTable, Facts, Reach
from include.estate import Estate

if TYPE_CHECKING:
    from include.cost.sources.exports import Collected, Delivery

AWS = "aws"


class NoDeliveryError(CostError):
    """Nothing was delivered for the days that are asked for."""


@dataclass
class ExportedBill:
    """What was found: ``made`` is None when nothing is newer than the table. ``problems`` say what is waited for."""

    made: Collected | None = None
    problems: list[str] = field(default_factory=list)


def collect_bill(
    table: CostTable, estate: Estate, days: Collection[dt.date], s3_client: Callable[[str], Any], folder: Path
) -> ExportedBill:
    """Partitions in ``folder`` of those of ``days`` that are newer than the table's, and of days that they correct.

    ``s3_client`` makes a boto3 client by connection id. Raises NoDeliveryError naming the exports when none has a file
    for these days, AwsError when S3 can't be read.
    """
    work = _Work(table, estate, days, s3_client, folder)
    if not any(delivery.owns(day) for delivery in work.deliveries for day in days):
        places = ", ".join(f"s3://{export.bucket}/{export.prefix}" for export in estate.cost.exports)
        raise NoDeliveryError(
            f"no export has a file for {min(days)} to {max(days)} under {places}: wait for the delivery, or "
            "correct cost.exports in the estate's file"
        )
    return work.bill()


class _Work:
    """The deliveries of one call, fetched at most once."""

    def __init__(
        self,
        table: CostTable,
        estate: Estate,
        days: Collection[dt.date],
        s3_client: Callable[[str], Any],
        folder: Path,
    ) -> None:
        from include.cost.sources.exports import deliveries

        self._table, self._estate, self._days, self._folder = table, estate, sorted(days), folder
        self._s3 = {rank: s3_client(export.connection) for rank, export in enumerate(estate.cost.exports)}
        before = self._days[0].replace(day=1) - dt.timedelta(days=1)  # its period may have charges of the next one
        first = (before.year, before.month)
        self.deliveries: list[Delivery] = []
        self._ranks: dict[int, int] = {}  # of the deliveries, by place
        for rank, export in enumerate(estate.cost.exports):
            for delivery in deliveries(export, self._s3[rank], rank, first):
                self._ranks[len(self.deliveries)] = rank
                self.deliveries.append(delivery)
        self._local: dict[int, Delivery] = {}
        self._facts: dict[dt.date, Facts | None] = {}

    def bill(self) -> ExportedBill:
        """See :func:`collect_bill`."""
        reaches = self._reaches()
        stale = {day for day in self._days if self._is_stale(day, reaches) and self._can_be_made(day)}
        # A correction of a day that nobody asks for now: what the table holds of it must have it.
        corrected = {day for days in reaches.values() for day in days} - set(self._days)
        stale |= {day for day in corrected if self._fact(day) and self._is_stale(day, reaches)}
        problems = [one.problem for one in self.deliveries if one.problem and any(map(one.owns, self._days))]
        if not stale:
            return ExportedBill(None, problems)
        places = [place for place in range(len(self.deliveries)) if self._concerns(place, stale, reaches)]
        bill = ExportedBill(self._collect(places, stale), problems)
        if bill.made:
            bill.problems += bill.made.refused.values()
        return bill

    def _collect(self, places: Sequence[int], stale: Collection[dt.date]) -> Collected:
        from include.cost.sources.exports import collect

        files = [file for place in places for file in self._fetched(place).files]
        made_in = self._folder / "made"
        made_in.mkdir()
        with ExitStack() as stack:
            standing = stack.enter_context(self._table.files(sorted(stale), [AWS]))
            return collect(files, self._estate, sorted(stale), made_in, standing)

    # --- Which days ---

    def _fact(self, day: dt.date) -> Facts | None:
        if day not in self._facts:
            self._facts[day] = self._table.facts(AWS, day)
        return self._facts[day]

    def _is_stale(self, day: dt.date, reaches: Mapping[int, Collection[dt.date]]) -> bool:
        facts = self._fact(day)
        return any(
            self._concerns(place, {day}, reaches) and (facts is None or delivery.received > facts.received)
            for place, delivery in enumerate(self.deliveries)
            if delivery.files
        )

    def _can_be_made(self, day: dt.date) -> bool:
        """A day that nobody has made needs a whole delivery of each export that has its period; another may stay."""
        own = [delivery for delivery in self.deliveries if delivery.owns(day)]
        return self._fact(day) is not None or (bool(own) and all(delivery.files for delivery in own))

    def _concerns(self, place: int, days: Collection[dt.date], reaches: Mapping[int, Collection[dt.date]]) -> bool:
        delivery = self.deliveries[place]
        return bool(delivery.files) and any(delivery.owns(day) or day in reaches.get(place, ()) for day in days)

    # --- Which files ---

    def _fetched(self, place: int) -> Delivery:
        from include.cost.sources.exports import download

        if place not in self._local:
            delivery, rank = self.deliveries[place], self._ranks[place]
            folder = self._folder / f"delivery-{place}"
            folder.mkdir()
            files = download(self._estate.cost.exports[rank], self._s3[rank], delivery.files, folder)
            self._local[place] = replace(delivery, files=tuple(files))
        return self._local[place]

    def _reaches(self) -> dict[int, set[dt.date]]:
        """Place -> the days outside its period that the delivery has charges of, or an earlier one had."""
        return {
            place: self._reach(place, delivery)
            for place, delivery in enumerate(self.deliveries)
            if delivery.period and delivery.files
        }

    def _reach(self, place: int, delivery: Delivery) -> set[dt.date]:
        from include.cost.sources.exports.reach import days_outside

        # By what it is the bill of: a new delivery may lie in another folder, and in other files.
        bill = f"{self._estate.cost.exports[self._ranks[place]].bucket}/{delivery.export}/{delivery.period}"
        kept = self._table.reach(AWS, bill)
        if kept is None or kept.received != delivery.received:
            found = days_outside(self._fetched(place).files)
            days = set().union(*found.values())
            gone = {*kept.days, *kept.gone} - days if kept else set()
            kept = Reach(delivery.received, tuple(sorted(days)), tuple(sorted(gone)))
            if len(found) == len(delivery.files):
                self._table.keep_reach(AWS, bill, kept)
        # A day that still has a correction that is gone has to lose it.
        return {*kept.days, *(day for day in kept.gone if self._was_made_of(day, delivery))}

    def _was_made_of(self, day: dt.date, delivery: Delivery) -> bool:
        from include.cost.sources.exports.keys import export_of, period_of

        facts = self._fact(day)
        bill = (delivery.export, delivery.period)
        return facts is not None and any((export_of(key), period_of(key)) == bill for key in facts.inputs)
