"""The drill's tables: for a terminal, and for a page in Markdown. Pure functions of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.pages.document import Document, Paragraph, Section, to_markdown
from include.pages.table import Table, aligned

WITHOUT, WITH = "requests alone", "with forecast"
# What is judged: its path, and the difference that counts, as a share of requests alone and as it stands. Two replays
# of requests alone differed by 21 % in P95 and by 0.06 points in errors (docs/notes/surge.md): less is a tie.
JUDGED: dict[str, tuple[str, float, float]] = {
    "P95 of REST": ("rest.surge_ms", 1 / 3, 0.0),
    "P95 of gRPC": ("grpc.surge_ms", 1 / 3, 0.0),
    "errors": ("errors.ratio", 0.0, 0.00075),
}
Json = Mapping[str, Any]
# name of the row, path in an outcome, format
ROWS: tuple[tuple[str, str, str], ...] = (
    ("P95 REST over the surge, ms", "rest.surge_ms", ".1f"),
    ("P95 REST, worst minute, ms", "rest.worst_minute_ms", ".1f"),
    ("REST minutes above the target", "rest.minutes_above_target", "d"),
    ("P95 gRPC over the surge, ms", "grpc.surge_ms", ".1f"),
    ("P95 gRPC, worst minute, ms", "grpc.worst_minute_ms", ".1f"),
    ("gRPC minutes above the target", "grpc.minutes_above_target", "d"),
    ("errors (refused and lost too), %", "errors.ratio", "%"),
    ("errors, worst minute, %", "errors.worst_minute", "%"),
    ("median lead of a replica, minutes", "cover.median_lead", "+.1f"),
    ("least lead of a replica, minutes", "cover.least_lead", "+.1f"),
    ("replicas later than the demand", "cover.late", "d"),
    ("minutes with too few replicas", "cover.short_minutes", ".1f"),
    ("most replicas lacking", "cover.most_short", "d"),
    ("median wait of a replica, plant s", "median_wait_s", ".0f"),
    ("longest wait of a replica, plant s", "longest_wait_s", ".0f"),
    ("nodes 15 minutes before the surge", "nodes_at_start", "d"),
    ("replica-minutes paid", "paid.replica_minutes", ".0f"),
    ("node-minutes paid", "paid.node_minutes", ".0f"),
    ("vCPU-minutes paid", "paid.vcpu_minutes", ".0f"),
    ("nodes paid, USD", "paid.usd", ".4f"),
    ("minutes in which the forecast added", "forecast_minutes", "d"),
    ("replica-minutes added without need", "false_replica_minutes", "d"),
)


def figure(outcome: Json, path: str) -> float | None:
    """The number at a dotted path."""
    value: Any = outcome
    for part in path.split("."):
        value = value[part]
    return None if value is None else float(value)


def shown(value: float | None, form: str) -> str:
    """A figure as the table has it."""
    if value is None:
        return "unknown"
    if form == "%":
        return f"{value * 100:.3f}"
    return format(round(value), form) if form == "d" else format(value, form)


def difference(before: float | None, after: float | None, form: str) -> str:
    """``after`` less ``before``, with its sign; 0 has none."""
    if before is None or after is None:
        return "unknown"
    text = shown(after - before, form)
    signed = text if text.startswith(("+", "-")) else f"+{text}"
    return "0" if not any(digit in "123456789" for digit in signed) else signed


def rows(surge: Json) -> list[tuple[str, str, str, str]]:
    """The table of one surge. ``with_forecast`` may be None: then nothing could add to requests."""
    before, after = surge["without_forecast"], surge["with_forecast"]
    found = [("", WITHOUT, WITH, "difference")]
    for name, path, form in ROWS:
        one = figure(before, path)
        two = None if after is None else figure(after, path)
        found.append((name, shown(one, form), "-" if after is None else shown(two, form), difference(one, two, form)))
    return found if after is not None else [(name, one, two, "") for name, one, two, _ in found]


def verdict(surge: Json) -> str:
    """One sentence on what the forecast did, whichever way it went."""
    before, after = surge["without_forecast"], surge["with_forecast"]
    if after is None:
        return f"The forecast could not be tried: {surge['champion']['reason']}."
    extra = difference(figure(before, "paid.node_minutes"), figure(after, "paid.node_minutes"), ".0f")
    price = f"{extra} node-minutes"
    if not after["forecast_minutes"]:
        return f"The forecast never added anything, so it changed nothing ({price}; two runs differ by themselves)."
    better, worse = _compared(before, after)
    if better and worse:
        return f"The forecast made {listed(better)} better, {listed(worse)} worse, for {price}."
    if better:
        return f"The forecast made {listed(better)} better, for {price}."
    if worse:
        return f"The forecast did not help: {listed(worse)} became worse, for {price}."
    same = "latency and errors differ no more than two replays of the same kind do"
    return f"The forecast did not help: {same}, for {price}."


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _compared(before: Json, after: Json) -> tuple[list[str], list[str]]:
    better: list[str] = []
    worse: list[str] = []
    for name, (path, share, least) in JUDGED.items():
        one, two = figure(before, path), figure(after, path)
        if one is None or two is None or abs(two - one) <= max(share * one, least):
            continue
        (better if two < one else worse).append(name)
    return better, worse


def champion_text(champion: Json) -> str:
    """The model behind the forecast, in one line."""
    if not champion["version"]:
        return f"no champion: {champion['reason']}"
    return f"champion {champion['model']} {champion['version']}: {champion['reason']}"


def heading(report: Json) -> str:
    """Where and at which pace it was run."""
    scale = report["time_scale"]
    return f"{report['region']}, time_scale {scale:g}: a plant minute is {60 / scale:g} s"


def text(report: Json) -> str:
    """The whole report for a terminal."""
    parts = []
    for surge in report["surges"]:
        parts += [f"{surge['surge']['title']} ({heading(report)})", champion_text(surge["champion"])]
        parts += ["", aligned(rows(surge), right={1, 2, 3}), "", verdict(surge), ""]
    return "\n".join(parts).rstrip()


def markdown(report: Json) -> str:
    """The whole report as Markdown, with the waits and what they are in plant time."""
    document = Document(
        title="",
        head=(Paragraph(f"Run of {report['date']}, {heading(report)}."),),
        sections=(*map(_section, report["surges"]), _waits(report)),
    )
    return to_markdown(document, level=2).rstrip()


def _section(surge: Json) -> Section:
    title, window = surge["surge"]["title"], f"{surge['surge']['rises']} to {surge['surge']['ends']}"
    judged = Paragraph(f"Judged from {window} of plant time, {champion_text(surge['champion'])}.")
    return Section(
        f"{title[:1].upper()}{title[1:]}", (judged, _table(rows(surge)), Paragraph(verdict(surge), strong=True))
    )


def _waits(report: Json) -> Section:
    head = ("wait", "production, s", "drill, s", "in plant time, s")
    names = ("production_s", "drill_s", "plant_s")
    waits = [(wait["name"], *(f"{wait[name]:g}" for name in names)) for wait in report["waits"]]
    rest = Paragraph(f"Not scaled: {report['not_scaled']}.")
    return Section(f"Waits at time_scale {report['time_scale']:g}", (_table([head, *waits]), rest))


def _table(lines: Sequence[tuple[str, ...]]) -> Table:
    return Table(lines[0], tuple(lines[1:]))
