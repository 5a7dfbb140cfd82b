"""An approval as a decision: what is agreed to, what it is worth, how it is undone, and what was proved. Pure texts.

Markdown, as Airflow's form renders it. It is kept short: what is left out stands in the ledger record that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from urllib.parse import urlsplit

from include.rollout.decisions.plans import gates_line, reason_lines, saving_line, stage_line
from include.rollout.ledger import OpenRun
from include.rollout.lever import Plan, Undo
from include.rollout.safety import Cell, Fault, State, ended

DIFFERENCES, NOTES, LEAST = 12, 9, 3  # lines of a form over all places, and of each place at least
UNKNOWN = "not known"


@dataclass(frozen=True)
class Outlook:
    """What the simulation of a month says of a lever's saving: USD a month, positive is a saving.

    ``error`` is the largest share by which a rehearsal missed the prediction; ``problem`` says why nothing is known.
    """

    p50: Decimal | None = None
    p90: Decimal | None = None
    book: str = ""
    error: float | None = None
    problem: str = ""

    @property
    def text(self) -> str:
        """``P50 $500.00, P90 $430.00 (price book aws); a rehearsal missed it by 4 %``."""
        if self.p50 is None:
            return f"{UNKNOWN}: {self.problem}" if self.problem else UNKNOWN
        band = f", P90 {_usd(self.p90)}" if self.p90 is not None else ", P90 not known"
        missed = "its error was never rehearsed" if self.error is None else f"a rehearsal missed it by {self.error:.0%}"
        return f"P50 {_usd(self.p50)}{band} (price book {self.book}); {missed}"


@dataclass(frozen=True)
class Backing:
    """What an approver may lean on for a lever: its code's version, what was proved of it, and its month's dollars.

    ``problem`` says why the safety records could not be read, or which of them count for nothing.
    """

    lever: str
    version: str | None
    cells: Mapping[Fault, Cell]
    outlook: Outlook
    problem: str = ""

    @property
    def undone(self) -> str:
        """How long an undo took when it was rehearsed."""
        return self.cells[Fault.UNDO].text


@dataclass(frozen=True)
class Offered:
    """One lever's plans in its places, what each resumes, and the ledger record that has all of it."""

    backing: Backing
    plans: Sequence[Plan]
    resumed: Mapping[str, OpenRun]
    record: str


@dataclass(frozen=True)
class Undoable:
    """One lever whose changes a rollback sets back; ``undo`` is None where its plan is not on record."""

    backing: Backing
    places: Sequence[str]
    undo: Undo | None


# The forms -----------------------------------------------------------------------------------------------------------


def approval_text(
    plan_hash: str, offered: Sequence[Offered], reason: str, judging: Mapping[str, float], links: Mapping[str, str]
) -> str:
    """The form of a rollout: what is agreed to, its worth and its safety first, then every place's changes."""
    plans = [plan for one in offered for plan in one.plans]
    places = ", ".join(dict.fromkeys(plan.place for plan in plans))
    names = " -> ".join(one.backing.lever for one in offered)
    count = sum(len(plan.differences) for plan in plans)
    counted = f"{count} difference{'s' * (count != 1)}."
    lines = [f"**Plan {plan_hash}:** {names} in {places}; {counted} {links_text(links)}".strip(), ""]
    lines += reason_lines(reason)
    if len(offered) > 1:
        lines += ["Each lever begins once the one before is promoted; one without steps is skipped.", ""]
    rows = [(one.backing, _by_plan(one.plans), worst(plan.undo for plan in one.plans)) for one in offered]
    lines += [*_worth(rows, "saving a month by this plan"), "", *safety_lines([one.backing for one in offered])]
    for one in offered:
        for number, plan in enumerate(one.plans):
            lines += ["", *_plan_lines(one, plan, one.plans[0] if number else None, len(plans))]
    return "\n".join([*lines, "", gates_line(judging)])


def undo_form(
    plan_hash: str, undoings: Sequence[Undoable], described: str, record: str, links: Mapping[str, str]
) -> str:
    """The form of a rollback: the same of what it sets back; ``described`` is every difference, place by place."""
    names = ", ".join(one.backing.lever for one in undoings) or "nothing"
    lines = [f"**Undo {plan_hash}:** {names}. {links_text(links)}".strip()]
    if undoings:
        rows = [(one.backing, ", ".join(one.places), one.undo) for one in undoings]
        lines += ["", *_worth(rows, "in"), "", *safety_lines([one.backing for one in undoings])]
    return "\n".join([*lines, "", capped(described, record)])


def capped(text: str, record: str, most: int = DIFFERENCES) -> str:
    """``text`` with no more than ``most`` list items over all its lists, at least three in each; the rest is named."""
    groups = [(is_list, list(lines)) for is_list, lines in groupby(text.split("\n"), lambda line: line[:2] == "- ")]
    each = max(LEAST, most // max(1, sum(is_list for is_list, _ in groups)))
    kept = [some_of(lines, each, record) if is_list else lines for is_list, lines in groups]
    return "\n".join(line for lines in kept for line in lines)


def some_of(lines: Sequence[str], most: int, record: str, last: int = 0) -> list[str]:
    """``most`` of the lines, the ``last`` ones among them, and how many more the ledger record has.

    One line more is shown instead of being counted. ``record`` is the record's key in the ledger.
    """
    if len(lines) <= most + 1:
        return [*lines]
    more = f"- and {len(lines) - most} more, in the ledger record `{record}`"
    return [*lines[: most - last], more, *lines[len(lines) - last :]]


# What it is worth ----------------------------------------------------------------------------------------------------


def worst(undos: Iterable[Undo]) -> Undo | None:
    """The undo that takes most; None without any."""
    order = list(Undo)
    return max(undos, key=order.index, default=None)


def _worth(rows: Sequence[tuple[Backing, str, Undo | None]], title: str) -> list[str]:
    cells = [
        (one.lever, own, one.outlook.text, UNKNOWN if undo is None else f"{undo.value}: {one.undone}")
        for one, own, undo in rows
    ]
    return table(("lever", title, "saving a month by the simulation of 30 days", "undo, and as rehearsed"), cells)


def _by_plan(plans: Sequence[Plan]) -> str:
    """What the plans of all places save together, in their book."""
    books = ", ".join(dict.fromkeys(plan.price_book for plan in plans))
    savings = [
        plan.usd_month_before - plan.usd_month_after
        for plan in plans
        if plan.usd_month_before is not None and plan.usd_month_after is not None
    ]
    if not plans or len(savings) < len(plans):
        return f"{UNKNOWN} in price book {books}" if books else UNKNOWN
    return f"{_usd(sum(savings, Decimal(0)))} (price book {books})"


def _usd(amount: Decimal | None) -> str:
    if amount is None:
        return UNKNOWN
    cents = amount.quantize(Decimal("0.01"))
    return f"-${-cents:,.2f}" if cents < 0 else f"${cents:,.2f}"


# What was proved -----------------------------------------------------------------------------------------------------


def safety_lines(backings: Sequence[Backing]) -> list[str]:
    """The matrix' rows of these levers: only the first column of results is a proof of what is to be approved."""
    rows = [
        (f"{one.lever} `{one.version or 'no version'}`", _of(one, State.REHEARSED), _otherwise(one), _never(one))
        for one in backings
    ]
    heads = ("lever and code", "proved for this code and plan", "proved for another", "not rehearsed")
    problems = [f"**Safety records:** {one.problem}" for one in backings if one.problem]
    return [*table(heads, rows), *(["", *problems] if problems else [])]


def _of(one: Backing, state: State) -> str:
    found = [(fault, cell.record) for fault, cell in one.cells.items() if cell.state is state]
    return "; ".join(f"{fault} {ended(record)}" for fault, record in found if record is not None) or "nothing"


def _otherwise(one: Backing) -> str:
    """What another plan or another version was proved against, with the one that it was."""
    found = []
    for fault, cell in one.cells.items():
        if cell.record is not None and cell.state is State.OTHER_PLAN:
            plan = f"plan {cell.record.plan_hash}" if cell.record.plan_hash else cell.record.source
            found.append(f"{fault} {ended(cell.record)} ({plan})")
        elif cell.record is not None and cell.state is State.OTHER_VERSION:
            found.append(f"{fault} {ended(cell.record)} (code {cell.record.code_version})")
    return "; ".join(found) or "nothing"


def _never(one: Backing) -> str:
    return ", ".join(fault for fault, cell in one.cells.items() if cell.state is State.NEVER) or "nothing"


# A place's changes ---------------------------------------------------------------------------------------------------


def _plan_lines(one: Offered, plan: Plan, first: Plan | None, places: int) -> list[str]:
    lines = [f"### {plan.place}: {plan.lever}", ""]
    if plan.place in one.resumed:
        run = one.resumed[plan.place].chain
        lines += [f"Resumes unfinished run {run.dag_id}/{run.run_id}: its snapshot stays the origin.", ""]
    changed = [f"- `{difference}`" for difference in plan.differences] or ["- nothing to change"]
    lines += [*some_of(changed, max(LEAST, DIFFERENCES // places), one.record), ""]
    lines += [*_steps(plan, first), f"- {saving_line(plan)}", f"- {plan.undo.words}"]
    notes = [f"- Note: {note}" for note in plan.notes if first is None or note not in first.notes]
    most = max(LEAST, NOTES // places)
    # What holds for all of it, such as the price of a way back, is said last.
    return [*lines, *some_of(notes, most, one.record, last=most // 3)]


def _steps(plan: Plan, first: Plan | None) -> list[str]:
    """The steps with their gates; a place that goes through those of the first one says so."""
    if first is not None and plan.stages and plan.stages == first.stages:
        return [f"- the steps of {first.place}, with the same gates"]
    return [*(f"{number}. {stage_line(stage)}" for number, stage in enumerate(plan.stages, start=1)), ""]


# Parts ---------------------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; a bar in a cell is no border."""
    shown = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in shown]
    return [lines[0], f"|{'---|' * len(heads)}", *lines[1:]]


def links_text(links: Mapping[str, str]) -> str:
    """``[the run](https://...), [its records](https://...)``."""
    return ", ".join(f"[{name}]({address})" for name, address in links.items())


def run_links(log_url: str) -> dict[str, str]:
    """Addresses of a run in Airflow's UI from that of one of its tasks' logs; none without an address.

    ``https://airflow/base/dags/d/runs/r/tasks/make_plan?try_number=1`` leads to the run, to its approval, and to the
    run's records on the project's page.
    """
    parts = urlsplit(log_url)
    run, found, _ = parts.path.partition("/tasks/")
    base, of_dag, rest = run.partition("/dags/")
    dag, of_run, run_id = rest.partition("/runs/")
    if not (parts.scheme and found and of_dag and of_run):
        return {}
    here = f"{parts.scheme}://{parts.netloc}"
    return {
        "the run": f"{here}{run}",
        "this approval": f"{here}{run}/tasks/await_approval",
        "its records": f"{here}{base}/plugin/akidb/akidb/runs/{dag}/{run_id}",
    }
