"""A cost report for people: one description of it, rendered as Markdown and as an HTML file on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from include.cost.report.pictures import against_targets, cost_by_day
from include.cost.report.result import TOTAL, Report, Row
from include.cost.table.components import UNALLOCATED
from include.pages.document import Document, Items, Paragraph, Section, Tile
from include.pages.table import Table
from include.pages.texts import UNKNOWN, words
from include.prices import DAYS_PER_MONTH

SETTLING = {
    "provisional": "The bill for this day may still change (AWS settles it in two to three days); this page is revised "
    "by itself when it does.",
    "settled": "The bill is old enough, and the last two exports agree.",
    "final": "The bill is invoiced.",
}
TILES = (
    ("cost", "usd", "USD for the day"),
    ("target", "target_usd", "USD a day"),
    ("week 13", "week_13_usd", "USD a day, same books"),
    ("week 8", "week_8_usd", "USD a day, the plan's 8,000"),
    ("month to date", "month_to_date_usd", "USD"),
    ("projection", "projection_usd_month", "USD a month"),
)


def document(report: Report) -> Document:
    """The page of a report."""
    missing = tuple((words(name), reason) for name, reason in report.unknown.items())
    charts = Section("Pictures", (cost_by_day(report), against_targets(report)))
    return Document(
        title=f"Cost of {report.day:%A}, {report.day.day} {report.day:%B %Y}",
        over="AkiDB cost report",
        status=report.status,
        lead=headline(report),
        head=(Paragraph(_status_text(report)), *((Items(missing),) if missing else ())),
        tiles=tuple(Tile(name, _cell(report, TOTAL, "", metric), unit) for name, metric, unit in TILES),
        sections=(charts, *sections(report)),
    )


def _status_text(report: Report) -> str:
    since = f" Figures as received {report.since:%Y-%m-%d %H:%M} UTC." if report.since else ""
    return f"{report.status.capitalize()}. {SETTLING[report.status]}{since}"


def sections(report: Report) -> list[Section]:
    """The sections of the page, each a table, that have rows."""
    made = (
        _components(report), _months(report), _regions(report), _capacity(report), _requests(report),
        _unallocated(report), *_allocations(report), _anomalies(report), _drivers(report), _inputs(report),
    )  # fmt: skip
    return [section for section in made if any(isinstance(part, Table) and part.rows for part in section.blocks)]


def _section(title: str, note: str, headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Section:
    return Section(title, (Paragraph(note), Table(headers, tuple(rows))))


def _components(report: Report) -> Section:
    rows = []
    for name in [*report.goals, UNALLOCATED]:
        metrics = ("usd", "judged_usd", "target_usd", "over_target_usd", "week_13_usd")
        rows.append((words(name), *(_cell(report, "component", name, metric) for metric in metrics),
                     _verdict(report, "component", name)))  # fmt: skip
    metrics = ("usd", "usd", "target_usd", "over_target_usd", "week_13_usd")
    rows.append(("total", *(_cell(report, TOTAL, "", metric) for metric in metrics), _verdict(report, TOTAL, "")))
    note = (
        "USD for the day. A target is a month's divided by 30.4 and is compared with the part of the cost that it is "
        "about: for central dc, whose baseline is machines at list price, the machines. An unknown component makes "
        f"the total unknown; known so far: {_cell(report, TOTAL, '', 'known_usd')} "
        f"(billed {_cell(report, TOTAL, '', 'known_billed_usd')})."
    )
    headers = ("component", "cost", "judged", "target", "over target", "week 13", "verdict")
    return _section("Components", note, headers, tuple(rows))


def _months(report: Report) -> Section:
    metrics = ("month_to_date_usd", "month_to_date_known_usd", "month_to_date_known_days", "at_this_rate_usd_month",
               "projection_usd_month")  # fmt: skip
    rows = [
        (words(name), *(_cell(report, "component", name, metric) for metric in metrics))
        for name in [*report.goals, UNALLOCATED]
    ]
    rows.append(("total", *(_cell(report, TOTAL, "", metric) for metric in metrics)))
    note = (
        f"USD. A month has {DAYS_PER_MONTH} days. The projection takes the means of the known weekdays and weekend "
        "days of the last four weeks, and a contract at its price."
    )
    headers = ("component", "month to date", "known so far", "known days", "at this day's rate", "projection")
    return _section("Month", note, headers, tuple(rows))


def _regions(report: Report) -> Section:
    rows = tuple(
        (name, _cell(report, "region", name, "usd"), _cell(report, "region", name, "billed_usd"))
        for name in _keys(report, "region")
    )
    return _section("Regions", "USD of the bill by region.", ("region", "cost", "billed"), rows)


def _capacity(report: Report) -> Section:
    rows = tuple(
        (words(name), _cell(report, "capacity", name, "node_hours"), _cell(report, "capacity", name, "usd"))
        for name in _keys(report, "capacity")
    )
    return _section("Machines", "Hours and USD by the way they were bought.", ("capacity", "node-hours", "cost"), rows)


def _requests(report: Report) -> Section:
    rows = []
    for name in _keys(report, "requests"):
        coverage = report.value("requests", name, "coverage")
        shown = "" if name == TOTAL else UNKNOWN if coverage is None else f"{coverage:.2%}"
        count = report.value("requests", name, "requests")
        rows.append((name, UNKNOWN if count is None else f"{count:,.0f}", shown,
                     _cell(report, "requests", name, "usd_per_million")))  # fmt: skip
    note = (
        "Measured requests from Prometheus, REST and gRPC. A day with a gap, or one that is no longer kept, is unknown."
    )
    return _section("Requests", note, ("region", "requests", "coverage", "USD per million"), tuple(rows))


def _unallocated(report: Report) -> Section:
    rows = tuple((row.key, _number(row)) for row in report.section("unallocated"))
    total = _cell(report, "component", UNALLOCATED, "usd")
    return _section("Unallocated", f"Rows that belong to no component: {total} USD in all.", ("service", "cost"), rows)


def _allocations(report: Report) -> Iterator[Section]:
    for row in report.section("allocation"):
        if row.metric == "allocator_total_usd":
            yield _allocation(report, row.key)


def _allocation(report: Report, source: str) -> Section:
    own = [row for row in report.section("allocation") if row.key.startswith(f"{source} ")]
    rows = [(row.key.removeprefix(f"{source} "), _number(row)) for row in own]
    words = {"idle_usd": "idle", "unallocated_usd": "unallocated", "bill_usd": "the bill"}
    rows += [(text, _cell(report, "allocation", source, metric)) for metric, text in words.items()]
    share = report.row("allocation", source, "gap_share")
    gap = "unknown" if share is None or share.value is None else f"{share.value:.1%} of the bill: {share.status}"
    note = (
        f"How {source} splits the clusters' part of the bill; workloads, idle and unallocated are exactly the bill. "
        f"Its own total is {_cell(report, 'allocation', source, 'allocator_total_usd')}, the gap {gap}."
    )
    return _section(f"Allocation ({source})", note, ("workload", "cost"), tuple(rows))


def _anomalies(report: Report) -> Section:
    rows = []
    for name in _keys(report, "anomaly"):
        cells = (_cell(report, "anomaly", name, metric) for metric in ("usd", "usual_usd", "score", "days"))
        row = report.row("anomaly", name, "usd")
        rows.append((words(name), *cells, row.status if row else UNKNOWN))
    note = (
        "The day against the median of the same kind of day (weekday or weekend) of four weeks; high or low from 3.5 "
        "spreads on, unknown with fewer than 7 such days."
    )
    return _section("Anomalies", note, ("component", "cost", "usual", "spreads", "days", "finding"), tuple(rows))


def _drivers(report: Report) -> Section:
    rows = tuple(
        (key, *(_cell(report, "driver", key, metric) for metric in ("change_usd", "usd", "usual_usd")))
        for key in _keys(report, "driver")
    )
    note = "What moved most: of what | service | region | SKU | the resource in it that moved most."
    return _section("Drivers", note, ("what", "change", "cost", "usual"), rows)


def _inputs(report: Report) -> Section:
    rows = []
    for one in report.inputs:
        missing = ", ".join(map(str, one.missing_hours)) or "none"
        rows.append((f"{one.source} {one.content[:12]}", f"{one.rows:,}", f"{one.billed_usd:,.2f}",
                     f"{one.rows_set_aside:,}", missing))  # fmt: skip
    note = "The day's partitions of the cost table that this page was made of, with the hash of their rows."
    return _section("Sources", note, ("source", "rows", "billed", "rows set aside", "missing hours"), tuple(rows))


def _keys(report: Report, section: str) -> list[str]:
    return list(dict.fromkeys(row.key for row in report.section(section)))


def _cell(report: Report, section: str, key: str, metric: str) -> str:
    row = report.row(section, key, metric)
    return "" if row is None else _number(row)


def _number(row: Row) -> str:
    if row.value is None:
        return UNKNOWN
    return f"{row.value:,.0f}" if row.unit in {"days", "rows", "components"} else money(row.value)


def money(value: Decimal) -> str:
    """Dollars with cents, or with four places below a cent's worth of detail."""
    return f"{value:,.4f}" if value and abs(value) < Decimal("0.1") else f"{value:,.2f}"


def _verdict(report: Report, section: str, key: str) -> str:
    row = report.row(section, key, "over_target_usd")
    return row.status if row else ""


def headline(report: Report) -> str:
    """The day in one sentence."""
    usd, target = report.row(TOTAL, "", "usd"), report.row(TOTAL, "", "over_target_usd")
    if usd is None or usd.value is None:
        known = _cell(report, TOTAL, "", "known_usd")
        return f"The total is unknown: {len(report.unknown)} component(s) have no data. Known so far: {known} USD."
    over = target.value if target else None
    if target is None or over is None:
        return f"{money(usd.value)} USD; the target is unknown."
    side = "over" if over > 0 else "within"
    return f"{money(usd.value)} USD, {money(abs(over))} {side} the day's target: {target.status}."
