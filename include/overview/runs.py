"""Every run that the ledger knows, and the records of one, searched by any text in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from include.overview.ledger_copy import LedgerContent
from include.rollout.ledger import WHOLE_RUN, Record, Step, last

Json = Any
SHOWN_FIGURES = 6  # of a record, in its line; all of them stand below it
LONGEST_FIGURE = 60
NOT_IN_A_LINE = frozenset({"snapshot", "estate", "settings", "plan", "plans", "checks", "results", "before", "after"})


@dataclass(frozen=True)
class RunRow:
    """A run over all its chains. ``outcome`` is its verdict, or "open" before there is one."""

    dag_id: str
    run_id: str
    levers: tuple[str, ...]
    places: tuple[str, ...]
    began: str
    ended: str
    outcome: str
    message: str
    records: int
    problem: str = ""
    found: int = 0  # records that hold what is searched for

    @property
    def name(self) -> str:
        """dag_id/run_id."""
        return f"{self.dag_id}/{self.run_id}"


def runs_of(content: LedgerContent) -> list[RunRow]:
    """Every run, the newest first."""
    grouped = _by_run(content)
    problems = content.problems
    rows = [_row(records, _problem(problems, records[0])) for records in grouped.values()]
    return sorted(rows, key=lambda row: (row.began, row.name), reverse=True)


def _by_run(content: LedgerContent) -> dict[tuple[str, str], list[Record]]:
    grouped: dict[tuple[str, str], list[Record]] = {}
    for chain in content.chains.values():
        for record in chain.records:
            grouped.setdefault((record.dag_id, record.run_id), []).append(record)
    return grouped


def _problem(problems: Mapping[str, str], record: Record) -> str:
    """What is wrong with the chains of a record's run."""
    folder = record.chain.path.rpartition("/")[2]
    return "; ".join(text for path, text in problems.items() if path.endswith(f"/{folder}"))


def _row(records: Sequence[Record], problem: str) -> RunRow:
    times = [record.time for record in records]
    whole = [record for record in records if record.place == WHOLE_RUN]
    verdict = last(sorted(whole, key=lambda record: record.time), Step.VERDICT)
    return RunRow(
        dag_id=records[0].dag_id,
        run_id=records[0].run_id,
        levers=tuple(dict.fromkeys(record.lever for record in records)),
        places=tuple(dict.fromkeys(record.place for record in records if record.place != WHOLE_RUN)),
        began=min(times),
        ended=max(times),
        outcome=str(verdict.figures.get("verdict", "open")) if verdict else "open",
        message=str(verdict.figures.get("message", "")) if verdict else "",
        records=len(records),
        problem=problem,
    )


# --- Search -----------------------------------------------------------------------------------------------------------


@dataclass
class Search:
    """The texts of a ledger's records, each made once: a copy's records never change."""

    _texts: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def text_of(self, record: Record) -> str:
        """Everything that a record says, in lower case."""
        key = (record.chain.path, record.sequence, record.previous)
        if key not in self._texts:
            raw = json.dumps([record.figures, record.links], ensure_ascii=False, default=str)
            head = (record.lever, record.place, record.dag_id, record.run_id, record.step, record.time, raw)
            self._texts[key] = " ".join(head).lower()
        return self._texts[key]

    def matches(self, record: Record, words: Sequence[str]) -> bool:
        """Whether a record holds every one of the words (lower case)."""
        text = self.text_of(record)
        return all(word in text for word in words)

    def runs(self, content: LedgerContent, query: str) -> list[RunRow]:
        """The runs with a record that holds every word of ``query``, the newest first; all without a query."""
        words = query.lower().split()
        rows = runs_of(content)
        if not words:
            return rows
        counts: dict[tuple[str, str], int] = {}
        for (dag_id, run_id), records in _by_run(content).items():
            counts[dag_id, run_id] = sum(self.matches(record, words) for record in records)
        found = [(row, counts[row.dag_id, row.run_id]) for row in rows]

        return [replace(row, found=count) for row, count in found if count]


# --- One run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordRow:
    """One record as a line: its figures in short, and ``details`` as indented JSON."""

    time: str
    place: str
    lever: str
    step: str
    title: str
    figures: str
    key: str
    details: str
    verdict: str = ""  # of a gate: pass, fail or unknown; of a verdict its word


def records_of_run(content: LedgerContent, dag_id: str, run_id: str, query: str, search: Search) -> list[RecordRow]:
    """The records of a run that hold every word of ``query``, in the order of their times."""
    words = query.lower().split()
    records = [
        record
        for chain in content.chains.values()
        if chain.records and (chain.records[0].dag_id, chain.records[0].run_id) == (dag_id, run_id)
        for record in chain.records
        if search.matches(record, words)
    ]
    return [_record_row(record) for record in sorted(records, key=lambda r: (r.time, r.place, r.sequence))]


def _record_row(record: Record) -> RecordRow:
    figures = record.figures
    title = str(figures.get("title") or figures.get("message") or figures.get("reason") or "")
    outcome = str(figures.get("outcome", "")) if record.step == Step.GATE else ""
    results = figures.get("results")
    judged = [str(r.get("reason", "")) for r in results if isinstance(r, Mapping)] if isinstance(results, list) else []
    return RecordRow(
        time=record.time,
        place="whole run" if record.place == WHOLE_RUN else record.place,
        lever=record.lever,
        step=record.step,
        title=title,
        figures="; ".join(judged if outcome else ()) or ", ".join(_short_figures(figures)),
        key=f"{record.chain.path}/{record.sequence:06}.json",
        details=json.dumps({"figures": figures, "links": record.links}, indent=1, ensure_ascii=False, default=str),
        verdict=outcome or str(figures.get("verdict", "")),
    )


def _short_figures(figures: Mapping[str, Json]) -> Iterator[str]:
    flat = {**figures, **(figures.get("figures") or {})} if isinstance(figures.get("figures"), Mapping) else figures
    shown = 0
    for name, value in flat.items():
        if name in NOT_IN_A_LINE or isinstance(value, Mapping | list) or value in (None, "") or name == "title":
            continue
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        if shown == SHOWN_FIGURES:
            yield "..."
            return
        shown += 1
        yield f"{name} {text if len(text) <= LONGEST_FIGURE else text[: LONGEST_FIGURE - 3] + '...'}"
