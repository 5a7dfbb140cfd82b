"""The pages as HTML: everything that comes from elsewhere is escaped; pictures are those of the reports."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.overview.approvals import Pending
from include.overview.changes import LeverState
from include.overview.costs import CostDay, Costs, cost_chart, day_document
from include.overview.forecasts import ForecastState, forecast_chart
from include.overview.runs import RecordRow, RunRow
from include.overview.view import Overview, Problem, headline, undo_query
from include.pages import document as pages
from include.pages.table import VERDICTS, Table
from include.pages.texts import UNKNOWN, usd, words

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_RECORDS, SHOWN_RUNS = 300, 200
GOOD = frozenset({"promoted", "dry run", "nothing to undo", "nothing to do", "pass", "exported"})
BAD = frozenset({"rolled back", "unknown", "refused", "fail", "rejected"})


@dataclass(frozen=True)
class Frame:
    """Where the page stands: ``airflow`` is the path below which Airflow answers ("" for the root), ``base`` ours."""

    airflow: str
    base: str
    estate: str
    user: str = ""
    may_undo: bool = False


def verdict_of(word: str) -> str:
    """The class of a chip: pass, fail, or unknown for what goes on or was only looked at."""
    return "pass" if word in GOOD else "fail" if word in BAD else "unknown"


def moment(text: str | dt.datetime) -> str:
    """A time as people read it, in UTC; what is no time stays as it is."""
    try:
        time = dt.datetime.fromisoformat(text) if isinstance(text, str) else text
    except ValueError:
        return str(text)
    return f"{time.astimezone(dt.UTC) if time.tzinfo else time:%d %b %Y %H:%M:%S}"


def run_path(name: str) -> str:
    """dag_id/run_id for an address: a run id may hold any sign."""
    return "/".join(quote(part, safe="") for part in name.split("/", 1))


def rehearsed(state: LeverState) -> str:
    """How long the newest undo took; where it was not here, its place."""
    if state.undo_seconds is None:
        return "not on record"
    there = "" if state.undo_place == state.place else f" ({state.undo_place})"
    return f"{state.undo_seconds:.0f} s{there}"


# --- The pages --------------------------------------------------------------------------------------------------------


def overview_page(
    view: Overview, pending: Pending, frame: Frame, may_see: Callable[[str], bool] = lambda _: True
) -> str:
    """The first page; of the runs those of the DAGs that the user ``may_see``."""
    states = list(view.forecasts)
    return _render(
        "overview.html.j2",
        frame,
        here="overview",
        view=view,
        pending=pending,
        headline=headline(view, pending),
        days=view.days(pending),
        broken=any(problem.where.startswith("ledger") for problem in view.problems),
        rows=[row for row in view.runs if may_see(row.dag_id)],
        query="",
        stamp=stamp(view, pending),
        score_table=_score_table(view),
        component_table=_component_table(view),
        lever_table=_lever_table(view),
        forecast_table=_forecast_table(states),
        forecast_charts=[picture for state in states if (picture := forecast_chart(state)) is not None],
        forecast_problem=next((p.text for p in view.problems if p.where == "forecasts"), ""),
    )


def stamp(view: Overview, pending: Pending) -> str:
    """Changes when the page has something new to show: the script looks at it."""
    parts = (view.version, str(view.problems), str(pending), str(view.bill_day.key if view.bill_day else ""))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def runs_page(rows: Sequence[RunRow], query: str, problems: Sequence[Problem], frame: Frame) -> str:
    """The runs that were found."""
    return _render("runs.html.j2", frame, here="runs", rows=rows[:SHOWN_RUNS], count=len(rows), query=query,
                   more=len(rows) > SHOWN_RUNS, problems=problems)  # fmt: skip


def run_page(
    run: tuple[str, str],
    row: RunRow | None,
    records: Sequence[RecordRow],
    query: str,
    problems: Sequence[Problem],
    frame: Frame,
) -> str:
    """The ledger of one run, (dag_id, run_id); ``row`` None when the ledger doesn't know it."""
    about = hashlib.sha256(f"{row}{problems}".encode()).hexdigest()[:16]
    return _render("run.html.j2", frame, here="runs", dag_id=run[0], run_id=run[1], row=row, count=len(records),
                   records=records[:SHOWN_RECORDS], query=query, problems=problems, stamp=about)  # fmt: skip


def costs_page(costs: Costs, problems: Sequence[Problem], frame: Frame) -> str:
    """Every day with a report, the newest first."""
    return _render("costs.html.j2", frame, here="costs", days=costs.days[::-1], picture=cost_chart(costs),
                   problems=problems)  # fmt: skip


def day_page(one: CostDay, costs: Costs, frame: Frame) -> str:
    """The report of a day as it was published, and its neighbours."""
    before = max((day for day in costs.every if day < one.day), default=None)
    after = min((day for day in costs.every if day > one.day), default=None)
    return _render("day.html.j2", frame, here="costs", page=day_document(one, costs), before=before, after=after,
                   key=one.key, revisions=one.revisions)  # fmt: skip


def undo_page(lever: str, place: str, run: str, state: LeverState | None, frame: Frame) -> str:
    """The form of the rollback, filled in; ``state`` None when nothing of it stands."""
    conf = {"lever": lever, "regions": [place], "run": run, "dry_run": True, "reason": ""}
    text = json.dumps(conf)
    command = f"airflow dags trigger rollback --conf {_shell(text)}"
    return _render("undo.html.j2", frame, here="overview", lever=lever, place=place, run=run, state=state,
                   conf=json.dumps(conf, indent=2), command=command)  # fmt: skip


def _shell(text: str) -> str:
    """The text as one argument for a shell."""
    import shlex

    return shlex.quote(text)


def message_page(title: str, text: str, link: str = "", link_text: str = "") -> str:
    """A page that only says something."""
    return _templates().get_template("message.html.j2").render(title=title, text=text, link=link, link_text=link_text)


# --- Tables -----------------------------------------------------------------------------------------------------------


def _score_table(view: Overview) -> Table:
    rows = ((s.priority, s.item, s.wanted, s.verdict, s.measured, _sources(s.sources)) for s in view.scores)
    return Table(("priority", "item", "wanted", "verdict", "measured", "on record"), tuple(rows))


def _sources(keys: Sequence[str]) -> str:
    """The records behind a figure: the first, and how many more."""
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]}{more}" if keys else "none"


def _component_table(view: Overview) -> Table:
    rows = (
        (words(c.component), usd(c.week_13), usd(c.billed), usd(c.saving), usd(c.target), c.verdict)
        for c in view.components
    )
    head = ("component, USD a month", "week 13", "billed now", "saving billed", "target", "verdict")
    return Table(head, tuple(rows))


def _lever_table(view: Overview) -> Table:
    """The levers' savings beside each other: by the planner in both books, by the plans on record, as measured."""
    on_record = {row.lever: row for row in view.money}
    rows = []
    for name in dict.fromkeys([*view.planned.levers, *on_record]):
        books, row = view.planned.levers.get(name, {}), on_record.get(name)
        shown = (books.get("plan"), books.get("aws"), row.predicted if row else None, row.measured if row else None)
        rows.append((words(name), *map(usd, shown)))
    head = ("lever, USD a month", "planner, plan book", "planner, aws book", "plans on record", "measured")
    return Table(head, tuple(rows))


def _forecast_table(states: Sequence[ForecastState]) -> Table:
    rows = (
        (s.region, s.champion or "none", _share(s.accuracy), _share(s.naive), s.action or UNKNOWN, s.as_of,
         s.problem or s.reason)
        for s in states
    )  # fmt: skip
    head = ("region", "champion", "accuracy", "best naive", "last decision", "as of", "why")
    return Table(head, tuple(rows))


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


# --- Jinja ------------------------------------------------------------------------------------------------------------


def _render(template: str, frame: Frame, **values: Any) -> str:
    about: Mapping[str, Any] = {**vars(frame), **values}
    return _templates().get_template(template).render(about)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, pages.TEMPLATE.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"usd": usd, "moment": moment, "words": words, "path": run_path, "part": _part}
    environment.globals |= {"verdict_of": verdict_of, "rehearsed": rehearsed, "undo_query": undo_query}
    environment.globals["verdicts"] = VERDICTS
    return environment


def _part(text: str) -> str:
    return quote(text, safe="")
