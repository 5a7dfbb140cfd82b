"""A cost report for people: the same tables as Markdown and as one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.cost.report.compute import TOTAL, Report, Row
from include.cost.report.pictures import pictures
from include.cost.table.columns import MONEY
from include.cost.table.components import UNALLOCATED
from include.prices import DAYS_PER_MONTH

UNKNOWN = "unknown"
SETTLING = {
    "provisional": "The bill for this day may still change (AWS settles it in two to three days); this page is revised "
    "by itself when it does.",
    "settled": "The bill is old enough, and the last two exports agree.",
    "final": "The bill is invoiced.",
}
COLUMNS = ("day", "section", "key", "metric", "value", "unit", "status", "sources")


@dataclass(frozen=True)
class Table:
    """One table of the page. The first column is text, the others are right-aligned; ``note`` explains it."""

    title: str
    note: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def files_of(report: Report) -> dict[str, bytes]:
    """The files of a revision by name; the same report gives the same bytes."""
    return {
        "report.parquet": _parquet(report),
        "report.json": json.dumps(facts(report), sort_keys=True, indent=1).encode(),
        "report.md": markdown(report).encode(),
        "report.html": page(report).encode(),
    }


def facts(report: Report) -> dict[str, Any]:
    """The report as JSON, numbers as text. It holds nothing that a later, equal export would change."""
    return {
        "day": str(report.day),
        "status": report.status,
        "complete": not report.unknown,
        "since": report.since.isoformat() if report.since else None,
        "unknown": dict(report.unknown),
        "inputs": [
            {
                "source": one.source,
                "content": one.content,
                "rows": one.rows,
                "billed_usd": str(one.billed_usd),
                "rows_set_aside": one.rows_set_aside,
                "missing_hours": list(one.missing_hours),
                "invoiced": one.invoiced,
            }
            for one in report.inputs
        ],
        "requests": json.loads(report.requests.to_json()) if report.requests else None,
        "targets": {name: {"book": goal.book, "derived": goal.derived} for name, goal in report.goals.items()},
        "figures": [_plain(row) for row in report.rows],
    }


def _plain(row: Row) -> dict[str, Any]:
    return {
        "section": row.section,
        "key": row.key,
        "metric": row.metric,
        "value": None if row.value is None else str(row.value),
        "unit": row.unit,
        "status": row.status,
        "sources": list(row.sources),
    }


def table_of(report: Report) -> Any:
    """The figures as a pyarrow table: one row a figure, in the order of the report."""
    import pyarrow as pa

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pa.string())
    assert MONEY == "DECIMAL(28,12)"
    kinds |= {"day": pa.date32(), "value": pa.decimal128(28, 12), "sources": pa.list_(pa.string())}
    rows = [_plain(row) | {"day": report.day, "value": row.value} for row in report.rows]
    return pa.Table.from_pylist(rows, pa.schema([(name, kinds[name]) for name in COLUMNS]))


def _parquet(report: Report) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table_of(report), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(report: Report) -> list[Table]:
    """The tables of the page that have rows."""
    made = (
        _components(report), _months(report), _regions(report), _capacity(report), _requests(report),
        _unallocated(report), *_allocations(report), _anomalies(report), _drivers(report), _inputs(report),
    )  # fmt: skip
    return [table for table in made if table.rows]


def _components(report: Report) -> Table:
    rows = []
    for name in [*report.goals, UNALLOCATED]:
        metrics = ("usd", "judged_usd", "target_usd", "over_target_usd", "week_13_usd")
        rows.append((_words(name), *(_cell(report, "component", name, metric) for metric in metrics),
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
    return Table("Components", note, headers, tuple(rows))


def _months(report: Report) -> Table:
    metrics = ("month_to_date_usd", "month_to_date_known_usd", "month_to_date_known_days", "at_this_rate_usd_month",
               "projection_usd_month")  # fmt: skip
    rows = [
        (_words(name), *(_cell(report, "component", name, metric) for metric in metrics))
        for name in [*report.goals, UNALLOCATED]
    ]
    rows.append(("total", *(_cell(report, TOTAL, "", metric) for metric in metrics)))
    note = (
        f"USD. A month has {DAYS_PER_MONTH} days. The projection takes the means of the known weekdays and weekend "
        "days of the last four weeks."
    )
    headers = ("component", "month to date", "known so far", "known days", "at this day's rate", "projection")
    return Table("Month", note, headers, tuple(rows))


def _regions(report: Report) -> Table:
    rows = tuple(
        (name, _cell(report, "region", name, "usd"), _cell(report, "region", name, "billed_usd"))
        for name in _keys(report, "region")
    )
    return Table("Regions", "USD of the bill by region.", ("region", "cost", "billed"), rows)


def _capacity(report: Report) -> Table:
    rows = tuple(
        (_words(name), _cell(report, "capacity", name, "node_hours"), _cell(report, "capacity", name, "usd"))
        for name in _keys(report, "capacity")
    )
    return Table("Machines", "Hours and USD by the way they were bought.", ("capacity", "node-hours", "cost"), rows)


def _requests(report: Report) -> Table:
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
    return Table("Requests", note, ("region", "requests", "coverage", "USD per million"), tuple(rows))


def _unallocated(report: Report) -> Table:
    rows = tuple((row.key, _number(row)) for row in report.section("unallocated"))
    total = _cell(report, "component", UNALLOCATED, "usd")
    return Table("Unallocated", f"Rows that belong to no component: {total} USD in all.", ("service", "cost"), rows)


def _allocations(report: Report) -> Iterator[Table]:
    for row in report.section("allocation"):
        if row.metric == "allocator_total_usd":
            yield _allocation(report, row.key)


def _allocation(report: Report, source: str) -> Table:
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
    return Table(f"Allocation ({source})", note, ("workload", "cost"), tuple(rows))


def _anomalies(report: Report) -> Table:
    rows = []
    for name in _keys(report, "anomaly"):
        cells = (_cell(report, "anomaly", name, metric) for metric in ("usd", "usual_usd", "score", "days"))
        row = report.row("anomaly", name, "usd")
        rows.append((_words(name), *cells, row.status if row else UNKNOWN))
    note = (
        "The day against the median of the same kind of day (weekday or weekend) of four weeks; high or low from 3.5 "
        "spreads on, unknown with fewer than 7 such days."
    )
    return Table("Anomalies", note, ("component", "cost", "usual", "spreads", "days", "finding"), tuple(rows))


def _drivers(report: Report) -> Table:
    rows = tuple(
        (key, *(_cell(report, "driver", key, metric) for metric in ("change_usd", "usd", "usual_usd")))
        for key in _keys(report, "driver")
    )
    note = "What moved most: of what | service | region | SKU | the resource in it that moved most."
    return Table("Drivers", note, ("what", "change", "cost", "usual"), rows)


def _inputs(report: Report) -> Table:
    rows = []
    for one in report.inputs:
        missing = ", ".join(map(str, one.missing_hours)) or "none"
        rows.append((f"{one.source} {one.content[:12]}", f"{one.rows:,}", f"{one.billed_usd:,.2f}",
                     f"{one.rows_set_aside:,}", missing))  # fmt: skip
    note = "The day's partitions of the cost table that this page was made of, with the hash of their rows."
    return Table("Sources", note, ("source", "rows", "billed", "rows set aside", "missing hours"), tuple(rows))


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


def _words(name: str) -> str:
    return name.replace("_", " ")


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


# --- Markdown and HTML ------------------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """The page as Markdown, without the pictures."""
    lines = [f"# Cost of {report.day:%A}, {report.day}", "", f"**{headline(report)}**", "", _status_text(report)]
    lines += [f"- {_words(name)}: {reason}" for name, reason in report.unknown.items()]
    for table in tables(report):
        lines += ["", f"## {table.title}", "", table.note, ""]
        lines += [_line(table.headers), _line(["---", *["--:"] * (len(table.headers) - 1)])]
        lines += [_line(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _status_text(report: Report) -> str:
    since = f" Figures as received {report.since:%Y-%m-%d %H:%M} UTC." if report.since else ""
    return f"{report.status.capitalize()}. {SETTLING[report.status]}{since}"


def page(report: Report) -> str:
    """The page as HTML: styles and pictures inside, light or dark as the reader's system is."""
    drawn = "".join(
        f'<figure><figcaption>{html.escape(title)}</figcaption><div class="picture">{svg}</div></figure>'
        for title, svg in pictures(report).items()
    )
    missing = "".join(
        f"<li><b>{html.escape(_words(name))}</b>: {html.escape(reason)}</li>" for name, reason in report.unknown.items()
    )
    parts = [
        "<header>",
        f'<p class="over">AkiDB cost report <span class="chip {report.status}">{report.status}</span></p>',
        f"<h1>{report.day:%A}, {report.day.day} {report.day:%B %Y}</h1>",
        f'<p class="lead">{html.escape(headline(report))}</p>',
        f"<p>{html.escape(_status_text(report))}</p>",
        f'<ul class="missing">{missing}</ul>' if missing else "",
        "</header>",
        _tiles(report),
        f'<section class="pictures">{drawn}</section>',
        *(_section(table) for table in tables(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Cost of {report.day}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{chr(10).join(part for part in parts if part)}</main></body></html>\n"
    )


def _tiles(report: Report) -> str:
    tiles: Mapping[str, Sequence[str]] = {
        "cost": ("usd", "USD for the day"),
        "target": ("target_usd", "USD a day"),
        "week 13": ("week_13_usd", "USD a day, same books"),
        "week 8": ("week_8_usd", "USD a day, the plan's 8,000"),
        "month to date": ("month_to_date_usd", "USD"),
        "projection": ("projection_usd_month", "USD a month"),
    }
    made = "".join(
        f'<div class="tile"><span>{name}</span><b>{_cell(report, TOTAL, "", metric)}</b><small>{unit}</small></div>'
        for name, (metric, unit) in tiles.items()
    )
    return f'<section class="tiles">{made}</section>'


def _section(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.headers)
    body = "".join(f"<tr>{''.join(_td(cell) for cell in row)}</tr>" for row in table.rows)
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _td(cell: str) -> str:
    chip = cell if cell in {"pass", "fail", "high", "low", UNKNOWN} else ""
    text = html.escape(cell)
    return f'<td><span class="chip {chip}">{text}</span></td>' if chip else f"<td>{text}</td>"


STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6877;--line:#e3e7ec;--paper:#fbfcfd;--card:#fff;
--good:#1f7a4d;--bad:#b42318;--odd:#8a6100}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#2b333e;--paper:#12161c;--card:#191f27;
--good:#5cc792;--bad:#ff8a7e;--odd:#e3b341}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1040px;margin:0 auto;padding:48px 24px 80px}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:.2em 0}
h2{font-size:1.15rem;letter-spacing:-.01em;margin:2.6em 0 .2em}
p{margin:.4em 0;color:var(--soft);max-width:72ch}
.over{font-size:.85rem;letter-spacing:.02em}.lead{color:var(--ink);font-size:1.2rem}
.missing{color:var(--soft);padding-left:1.2em;margin:.6em 0}.missing b{color:var(--ink)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:28px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;display:grid}
.tile span,.tile small{color:var(--soft);font-size:.8rem}
.tile b{font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
figure{margin:0 0 20px;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px}
figcaption{font-weight:600;margin-bottom:6px}.picture svg{width:100%;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums;margin-top:10px}
th,td{padding:7px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--soft);font-weight:500}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;overflow-wrap:anywhere}
.chip{border-radius:99px;padding:1px 9px;border:1px solid currentColor;font-size:.82em}
.pass,.settled,.final{color:var(--good)}.fail,.high{color:var(--bad)}
.unknown,.provisional,.low{color:var(--odd)}td .unknown{border:0;padding:0}
@media print{body{background:none}main{padding:0;max-width:none}.tile,figure{break-inside:avoid}}
""".strip()
