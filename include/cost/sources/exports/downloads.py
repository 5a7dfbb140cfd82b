"""Which files are parts of one download, and which are a later download that takes the place of an earlier one.

A delivery in S3 says it itself. Of files that a person names, two that hold the same account, billing period and time
are either. Their names may say it (parts are numbered), and so does what they hold: parts of one download share no
charge, and a later download has the charges of the earlier one once more, whatever it costs or calls them now. What
neither tells is refused, and the person says it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.cost.sources.exports.keys import period_of
from include.cost.sources.exports.normalise import normalised
from include.cost.sources.exports.source import Source
from include.cost.table.columns import CostError

# Whose charge a row is and in which bill it stands, over COLUMNS and ``period``.
SCOPE = {
    "provider": "coalesce(ProviderName, InvoiceIssuerName, '')",
    "payer": "coalesce(BillingAccountId, '')",
    "account": "coalesce(SubAccountId, BillingAccountId, '')",
}
SCOPE_TEXT = "provider || '/' || payer || '/' || account || '/' || coalesce(CAST(period AS VARCHAR), '')"
HELD = -1  # stands for the rows that the table holds, among the numbers of files
FEW, MOST = 0.1, 0.8  # of the charges of the smaller one: at most so many are chance, at least so many the same bill
SAMPLE_ROWS = 2_000_000  # of a file, to compare
_ALWAYS = ("DATE '0001-01-01'", "DATE '9999-12-31'")
# What a charge is, whatever it costs. A column that one of two files doesn't have tells nothing.
_CHARGE = ("ServiceName", "ChargeCategory", "ResourceId", "SkuId", "SkuMeter", "RegionId")
_RENAMED = ("ServiceName", "ChargeCategory", "SkuId", "SkuMeter", "RegionId")  # a provider may call all of one anew
_NUMBER = re.compile(r"\d+")
_NO_PART = re.compile(r"(v|ver|version|rev|revision|\(|\d{4}[-_.]\d{2}[-_.]|\d{4}[-_.])$", re.IGNORECASE)


class Relation(enum.StrEnum):
    """What a file is to another one that holds the same account and billing period."""

    PARTS = "parts"  # of one download: they add up
    LATER = "later"  # a later download: it takes the place of the earlier one
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Shared:
    """``charges`` of ``smaller``, the number of charges of the smaller of two files, are in the other one too.

    ``but_one`` is the largest share (0..1) that are when one of the names that a provider gives is left out. ``there``:
    of the days of the later one, so many charges has the table, where that is the earlier one.
    """

    charges: int
    smaller: int
    but_one: float = 0.0
    there: int = 0

    @property
    def is_some(self) -> bool:
        """Whether the later one has but some of the table's charges: in its place, those of other parts were lost."""
        return self.charges < MOST * self.there


def relation(shared: Shared, numbered: bool) -> Relation:
    """What two files are to each other by what they share; ``numbered``: their names are those of parts."""
    if not shared.smaller:
        return Relation.PARTS
    share = shared.charges / shared.smaller
    if share >= MOST:
        return Relation.UNCLEAR if numbered or shared.is_some else Relation.LATER
    return Relation.PARTS if numbered or (share <= FEW and shared.but_one < MOST) else Relation.UNCLEAR


def are_numbered(paths: Sequence[Path]) -> bool:
    """Whether the names, in one folder, differ in one number that is no date and no version: ``x-1``, ``x-2``."""
    names = [path.name for path in paths]
    numbers = [_NUMBER.findall(name) for name in names]
    if len({path.parent for path in paths}) > 1 or len({_NUMBER.sub("#", name) for name in names}) > 1:
        return False
    differ = [place for place, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    if len(differ) != 1:
        return False
    found = list(_NUMBER.finditer(names[0]))[differ[0]]
    is_date = len(found[0]) in {6, 8} and not found[0].startswith("0")
    return not is_date and not _NO_PART.search(names[0][: found.start()])


def place(
    connection: Any, sources: Sequence[tuple[int, Source]], held: str, currency: str, stated: Relation | None
) -> dict[int, int]:
    """The place of each file in the order of downloads: files of one place add up, a later place takes over.

    ``sources`` are numbered, in their order; ``held`` is a relation (COLUMNS, day, period) of what the table holds, ""
    for nothing: its place is 0. Makes the table ``spoken``: of which accounts, billing periods and days each place
    speaks. Raises CostError when parts can't be told from a later download.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE spoken (file_no INTEGER, lane INTEGER, place INTEGER, provider VARCHAR, "
        "payer VARCHAR, account VARCHAR, period DATE, first DATE, last DATE, begins TIMESTAMPTZ, ends TIMESTAMPTZ)"
    )
    delivered = [(number, source) for number, source in sources if source.file.delivery]
    order = sorted({(source.file.received, source.file.delivery) for _, source in delivered})
    places = {number: 1 + order.index((source.file.received, source.file.delivery)) for number, source in delivered}
    named = [(number, source) for number, source in sources if not source.file.delivery]
    if len(set(places.values())) + len(named) + bool(held) > 1:
        for number, source in sources:
            rows = normalised(source, number, currency, None)
            _speak(connection, number, source.file.rank, rows, source.file.key if number in places else None)
        if named:
            places |= _NamedFile(connection, named, held, currency, stated).places()
    else:
        places |= {number: 1 for number, _ in named}
    for number, at in places.items():
        connection.execute("UPDATE spoken SET place = ? WHERE file_no = ?", [at, number])
    return places


def matches(spoken: str, row: str) -> str:
    """SQL: the download speaks of the row's account, billing period and day. What one of them doesn't name fits all."""
    day = f"greatest({row}.day, {row}.period)"  # a correction of an earlier day is of the period's first day
    return f"{_same_bill(spoken, row)} AND {day} BETWEEN {spoken}.first AND {spoken}.last"


def _same_bill(a: str, b: str) -> str:
    loose = (f"({a}.{name} = {b}.{name} OR {a}.{name} = '' OR {b}.{name} = '')" for name in ("provider", "payer"))
    return f"{a}.account = {b}.account AND {a}.period = {b}.period AND {' AND '.join(loose)}"


def scoped(relation: str) -> str:
    """``relation`` with the columns of SCOPE beside its own."""
    return f"(SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in SCOPE.items())} FROM {relation})"


def _speak(connection: Any, number: int, lane: int, rows: str, delivered: str | None) -> None:
    """A delivery speaks of all of its billing period and of no other, a file from its first day to its last.

    ``delivered`` is the key of a file of a delivery.
    """
    whole, own = delivered is not None, period_of(delivered or "")
    first, last = _ALWAYS if whole else ("min(greatest(day, period))", "max(greatest(day, period))")
    only = f"AND period = DATE '{own[0]}-{own[1]:02d}-01'" if own else ""
    begin = "greatest(ChargePeriodStart, CAST(period AS TIMESTAMPTZ))"
    connection.execute(
        f"INSERT INTO spoken SELECT {number}, {lane}, 0, provider, payer, account, period, {first}, {last}, "
        f"min({begin}), max({begin}) FROM {scoped(f'({rows})')} WHERE day IS NOT NULL {only} "
        "GROUP BY provider, payer, account, period"
    )


class _NamedFile:
    """The files that a person named, and what the table holds."""

    def __init__(
        self, connection: Any, named: Sequence[tuple[int, Source]], held: str, currency: str, stated: Relation | None
    ) -> None:
        self._connection = connection
        self._sources = dict(named)
        self._held = held
        self._stated = stated
        self._currency = currency
        if held:
            _speak(connection, HELD, HELD, f"SELECT * FROM {held}", None)

    def places(self) -> dict[int, int]:
        """The place of each file; 0 beside what the table holds."""
        found: dict[int, int] = {}
        for lane in sorted({source.file.rank for source in self._sources.values()}):
            groups: list[list[int]] = []
            for number in (number for number, source in self._sources.items() if source.file.rank == lane):
                if groups and self._related(number, groups[-1]) is Relation.PARTS:
                    groups[-1].append(number)
                else:
                    groups.append([number])
            first = 0 if self._held and self._beside(groups[0]) is Relation.PARTS else 1
            found |= {number: first + at for at, group in enumerate(groups) for number in group}
        return found

    def _related(self, number: int, group: Sequence[int]) -> Relation:
        if self._stated:
            return self._stated
        paths = [self._sources[one].file.path for one in (*group, number)]
        others = " and ".join(self._sources[one].file.key for one in group)
        return self._judged([number], group, are_numbered(paths), others)

    def _beside(self, group: Sequence[int]) -> Relation:
        """What a download is to the rows that the table holds."""
        if self._stated is Relation.LATER:
            return Relation.LATER
        return self._judged(group, [HELD], False, "the table")

    def _judged(self, ours: Sequence[int], theirs: Sequence[int], numbered: bool, others: str) -> Relation:
        shared = self._shared(ours, theirs)
        found = relation(shared, numbered)
        if found is Relation.UNCLEAR:
            mine = " and ".join(self._sources[one].file.key for one in ours)
            parts = "give all parts of a download at once" if HELD in theirs else "say --parts if they are one download"
            of = shared.there if shared.is_some else shared.smaller
            raise CostError(
                f"{mine} and {others} hold the same account, billing period and time, and {shared.charges} of {of} "
                f"charges are in both: {parts}, or say --later if {mine} takes the place of {others}"
            )
        return found

    def _shared(self, ours: Sequence[int], theirs: Sequence[int]) -> Shared:
        begins, ends = "greatest(min(a.begins), min(b.begins))", "least(max(a.ends), max(b.ends))"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE together AS SELECT a.account, a.period, "
            "greatest(a.provider, b.provider) AS provider, greatest(a.payer, b.payer) AS payer, "
            f"{begins} AS begins, {ends} AS ends FROM spoken a JOIN spoken b ON {_same_bill('a', 'b')} "
            f"WHERE a.file_no IN ({_listed(ours)}) AND b.file_no IN ({_listed(theirs)}) "
            f"GROUP BY ALL HAVING {begins} <= {ends}"
        )
        if not self._connection.execute("SELECT count(*) FROM together").fetchone()[0]:
            return Shared(0, 0)
        # The same hours of both: else a large one and a small one would share less than they do.
        step = max(map(self._size, (ours, theirs))) // SAMPLE_ROWS + 1
        for name, side in (("ours", ours), ("theirs", theirs)):
            self._sample(name, side, step)
        sides = ("ours", "theirs")
        known = [name for name in _CHARGE if all(self._one(f"SELECT count({name}) > 0 FROM {t}") for t in sides)]
        coarse = [self._one(f"SELECT quantile_disc(seconds, 0.5) > 3600 FROM {t}") for t in sides]
        # An export by the hour and one by the day share no hour.
        time = "date_trunc('day', start)" if coarse[0] != coarse[1] else "start"
        charge = ["account", "period", time, *known]
        shared, smaller = self._in_both(charge)
        but_one = 0.0
        for name in _RENAMED if smaller and shared <= FEW * smaller else ():
            some, fewer = self._in_both(["account", "period", time, *(one for one in known if one != name)])
            but_one = max(but_one, some / fewer)
        return Shared(shared, smaller, but_one, self._there(charge) if HELD in theirs else 0)

    def _in_both(self, columns: Sequence[str]) -> tuple[int, int]:
        """How many charges, told apart by ``columns``, both sides have, and how many the smaller one has."""
        queries = [f"SELECT DISTINCT {', '.join(columns)} FROM {side}" for side in ("ours", "theirs")]
        shared = self._one(f"SELECT count(*) FROM ({queries[0]} INTERSECT {queries[1]})")
        return shared, min(self._one(f"SELECT count(*) FROM ({query})") for query in queries)

    def _there(self, columns: Sequence[str]) -> int:
        """How many charges theirs has of the days that ours has charges of."""
        day = "(account, period, date_trunc('day', start))"
        of_these = f"FROM theirs WHERE {day} IN (SELECT {day} FROM ours)"
        return int(self._one(f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(columns)} {of_these})"))

    def _size(self, numbers: Sequence[int]) -> int:
        """Rows of these files; those of the table are not counted."""
        return sum(self._sources[number].rows for number in numbers if number != HELD)

    def _sample(self, name: str, numbers: Sequence[int], step: int) -> None:
        rows = " UNION ALL ".join(f"SELECT {_COMPARED} FROM {scoped(self._rows(number))}" for number in numbers)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT r.* FROM ({rows}) r JOIN together t "
            f"ON {_same_bill('r', 't')} AND r.start BETWEEN t.begins AND t.ends AND hash(r.start) % {step} = 0"
        )

    def _rows(self, number: int) -> str:
        if number == HELD:
            return self._held
        return f"({normalised(self._sources[number], number, self._currency, None)})"

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()[0]


_COMPARED = (
    "provider, payer, account, period, greatest(ChargePeriodStart, CAST(period AS TIMESTAMPTZ)) AS start, "
    f"epoch(ChargePeriodEnd - ChargePeriodStart) AS seconds, {', '.join(_CHARGE)}"
)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
