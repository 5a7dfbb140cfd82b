"""Judge a table by its suite with Great Expectations; the record is plain JSON, the same for the same table.

Nothing is fetched, sent or left on the disk: the library's context lives in memory.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.quality.suites import Expectation, checks_of

SHOWN, SHOWN_VALUES = 10, 3  # rows, and different values, of a failure that are named
# Checks that compare numbers, where money is Decimal or text.
NUMERIC = ("ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet")


class QualityError(RuntimeError):
    """A table failed its suite; the message holds each failed expectation, what was seen and in which rows."""


@dataclass(frozen=True)
class Judgement:
    """What a suite says of a table. ``failures`` are sentences; ``record`` is JSON-able and deterministic."""

    suite: str
    passed: bool
    failures: tuple[str, ...]
    record: dict[str, Any]

    def demand(self, name: str = "") -> None:
        """Raise QualityError when the table failed; ``name`` says which table it was."""
        if not self.passed:
            where = f"{name or 'the table'} fails the suite {self.suite!r}"
            raise QualityError(f"{where}: {'; '.join(self.failures)}. Correct the source, then run the task again")


def judge(suite: str, table: Any, **facts: Any) -> Judgement:
    """Judge ``table`` (a pandas frame, a pyarrow table, rows as mappings, or the path of a Parquet file).

    ``facts`` are what the suite needs to know, such as ``day``. Raises SuiteError for an unknown suite or a missing
    fact; a table that fails raises nothing, see :meth:`Judgement.demand`.
    """
    checks = checks_of(suite, facts)
    frame = _frame(table)
    _numbers(frame, {column for check in checks if check.kind in NUMERIC for column in check.columns})
    absent = sorted({column for check in checks for column in check.columns} - set(frame.columns))
    runnable = {place: check for place, check in enumerate(checks) if not set(check.columns) & set(absent)}
    results = _validate(frame, runnable)
    entries = [_entry(check, results.get(place), absent, frame) for place, check in enumerate(checks)]
    failures = tuple(_sentence(entry) for entry in entries if not entry["passed"])
    record = {
        "suite": suite,
        "passed": not failures,
        "rows": len(frame),
        "facts": {name: _plain(value) for name, value in sorted(facts.items()) if name != "columns"},
        "checks": entries,
    }
    return Judgement(suite, not failures, failures, record)


def to_markdown(record: Mapping[str, Any]) -> str:
    """The record as a page: the verdict, then a table of the checks."""
    facts = ", ".join(f"{name} {value}" for name, value in record["facts"].items())
    lines = [
        f"# Table {record['suite']}: {'passed' if record['passed'] else 'FAILED'}",
        "",
        f"{record['rows']} rows{f'; {facts}' if facts else ''}.",
        "",
        "| check | result | seen | rows |",
        "|---|---|---|---|",
    ]
    for entry in record["checks"]:
        rows = ", ".join(str(row) for row in entry["rows"])
        cells = (entry["expectation"], "passed" if entry["passed"] else "FAILED", entry["observed"], rows)
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _frame(table: Any) -> Any:
    import pandas as pd

    if isinstance(table, Path | str):
        import pyarrow.parquet as pq

        table = pq.read_table(table)
    if hasattr(table, "to_pandas"):
        table = table.to_pandas()
    frame = table.copy() if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    return frame.reset_index(drop=True)


def _numbers(frame: Any, columns: set[str]) -> None:
    """Decimals, and the texts that records keep dollars as, become floats in place: bounds are checked, not summed."""
    for column in sorted(columns & set(frame.columns)):
        known = frame[column].dropna()
        if len(known) and isinstance(known.iloc[0], Decimal | str):
            with contextlib.suppress(ValueError, TypeError):
                frame[column] = frame[column].where(frame[column].isna(), known.map(float)).astype(float)


def _validate(frame: Any, checks: Mapping[int, Expectation]) -> dict[int, Any]:
    import great_expectations as gx
    import great_expectations.expectations as expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    # The library answers in an order of its own: the place travels with each expectation.
    made = [
        getattr(expectations, one.kind)(**one.kwargs, **_only(one), meta={"place": place})
        for place, one in checks.items()
    ]
    answer = batch.validate(gx.ExpectationSuite("suite", expectations=made))
    found = ((result.expectation_config, result) for result in answer.results)
    return {config.meta["place"]: result for config, result in found if config and config.meta}


def _only(check: Expectation) -> dict[str, Any]:
    from great_expectations.expectations.row_conditions import Column

    return {"row_condition": Column(check.only[0]).is_in(list(check.only[1]))} if check.only else {}


def _entry(check: Expectation, result: Any, absent: Sequence[str], frame: Any) -> dict[str, Any]:
    entry = {"expectation": check.words, "type": check.kind, "passed": False, "observed": "", "rows": []}
    if result is None:
        missing = ", ".join(column for column in check.columns if column in absent)
        return entry | {"observed": f"the table has no column {missing}"}
    if result.exception_info.get("raised_exception"):
        return entry | {"observed": str(result.exception_info["exception_message"])[:200]}
    entry["passed"] = bool(result.success)
    return entry if result.success else entry | _seen(check, result.result, frame)


def _seen(check: Expectation, result: Mapping[str, Any], frame: Any) -> dict[str, Any]:
    if check.kind == "ExpectTableColumnsToMatchSet":
        wanted, found = set(check.kwargs["column_set"]), set(frame.columns)
        parts = [f"absent: {', '.join(sorted(wanted - found))}"] if wanted - found else []
        if check.kwargs["exact_match"] and found - wanted:
            parts.append(f"not wanted: {', '.join(sorted(found - wanted))}")
        return {"observed": "; ".join(parts)}
    if "unexpected_count" not in result:
        return {"observed": f"{_plain(result.get('observed_value'))}"}
    values = dict.fromkeys(_word(value) for value in result.get("partial_unexpected_list", []))
    shown = ", ".join(list(values)[:SHOWN_VALUES])
    rows = [int(row) + 1 for row in result.get("partial_unexpected_index_list", [])[:SHOWN]]
    return {"observed": f"{result['unexpected_count']} of {len(frame)} rows: {shown}", "rows": rows}


def _sentence(entry: Mapping[str, Any]) -> str:
    rows = ", ".join(str(row) for row in entry["rows"])
    return f"expected that {entry['expectation']}; seen {entry['observed']}{f' (row {rows})' if rows else ''}"


def _word(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "empty"
    if isinstance(value, Mapping):
        return " and ".join(f"{name} {_word(part)}" for name, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " and ".join(_word(part) for part in value)
    return str(_plain(value))[:80]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(part) for part in value]
    return str(value)
