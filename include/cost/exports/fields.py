"""SQL for the columns of one export file, whatever types it came with: unknown is null, unreadable is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from include.cost.sql import literal, quoted

# Texts that exports write where there is no value.
_NO_TEXT = "('', 'NULL', 'null')"
_NO_NUMBER = "('', 'NULL', 'null', 'NaN', 'nan', 'None')"
NULL = "NULL"


def first_of(*expressions: str) -> str:
    """The first of the expressions that isn't null; ``NULL`` for none."""
    known = [expression for expression in expressions if expression != NULL]
    if not known:
        return NULL
    return known[0] if len(known) == 1 else f"coalesce({', '.join(known)})"


@dataclass
class Fields:
    """Columns by canonical name (lower case) with their name in the file and their DuckDB type.

    ``unread`` gains (name in the file, value as text, condition that it can't be read) of every text column that was
    asked for as a number or a time.
    """

    columns: Mapping[str, tuple[str, str]]
    unread: list[tuple[str, str, str]] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Is there such a column?"""
        return name.lower() in self.columns

    def text(self, *names: str) -> str:
        """The first of the columns that exists and has a value, as text."""
        return first_of(*(self._text(name, _NO_TEXT) for name in names))

    def number(self, name: str, kind: str) -> str:
        """The column as ``kind``, a DECIMAL type; NaN is null."""
        return self._parsed(name, kind, _NO_NUMBER)

    def time(self, name: str) -> str:
        """The column as a point in time; one without a zone is in UTC."""
        kind = self._kind(name)
        if kind.startswith("TIMESTAMP") and "TIME ZONE" not in kind:
            return f"({self._column(name)} AT TIME ZONE 'UTC')"
        if kind == "DATE":
            return f"(CAST({self._column(name)} AS TIMESTAMP) AT TIME ZONE 'UTC')"
        return self._parsed(name, "TIMESTAMP WITH TIME ZONE", _NO_TEXT)

    def entry(self, name: str, key: str) -> str:
        """One value of a map column, as text: a map, a struct, or JSON in a text."""
        if not self.has(name):
            return NULL
        kind, column = self._kind(name), self._column(name)
        if kind.startswith("MAP"):
            value = f"CAST({column}[{literal(key)}] AS VARCHAR)"
        else:
            path = '$."' + key + '"'
            value = f"json_extract_string({self.json(name)}, {literal(path)})"
        return f"CASE WHEN {value} IN {_NO_TEXT} THEN NULL ELSE {value} END"

    def json(self, name: str) -> str:
        """A map column as JSON; null for a text that is none."""
        if not self.has(name):
            return NULL
        if self._kind(name) in {"VARCHAR", "JSON"}:
            return f"TRY_CAST({self.text(name)} AS JSON)"
        return f"to_json({self._column(name)})"

    def is_typed_time(self, name: str) -> bool:
        """Is the column a timestamp in the file, so that a reader can skip parts of it?"""
        return self.has(name) and self._kind(name).startswith("TIMESTAMP")

    def is_integer(self, name: str) -> bool:
        """Is the column an integer in the file, which takes leading zeros away?"""
        return self.has(name) and self._kind(name) in {"BIGINT", "HUGEINT", "INTEGER", "UBIGINT"}

    def _text(self, name: str, nothing: str) -> str:
        if not self.has(name):
            return NULL
        column = self._column(name)
        if self._kind(name) != "VARCHAR":
            return f"CAST({column} AS VARCHAR)"
        return f"CASE WHEN {column} IN {nothing} THEN NULL ELSE {column} END"

    def _parsed(self, name: str, kind: str, nothing: str) -> str:
        if not self.has(name):
            return NULL
        if self._kind(name) != "VARCHAR":
            return f"TRY_CAST({self._column(name)} AS {kind})"
        text = self._text(name, nothing)
        parsed = f"TRY_CAST({text} AS {kind})"
        self.unread.append((self.columns[name.lower()][0], text, f"({text}) IS NOT NULL AND ({parsed}) IS NULL"))
        return parsed

    def _column(self, name: str) -> str:
        return quoted(self.columns[name.lower()][0])

    def _kind(self, name: str) -> str:
        return self.columns[name.lower()][1] if self.has(name) else ""


def tags_of_map(expression: str, is_map: bool) -> str:
    """A map (or JSON when not ``is_map``) as the table's tags: JSON with sorted keys; null when empty.

    ``user:`` (in CUR 2.0 ``user_``) is taken off the keys; ``aws:`` stays.
    """
    if expression == NULL:
        return NULL
    entries = f"map_entries({expression})" if is_map else f"map_entries(TRY_CAST({expression} AS MAP(VARCHAR, JSON)))"
    key = "regexp_replace(regexp_replace(e.key, '^user[:_]', ''), '^aws_', 'aws:')"
    value = "to_json(e.value)"
    kept = "e.value IS NOT NULL AND CAST(e.value AS VARCHAR) NOT IN ('', 'null', 'NULL', '\"\"')"
    named = f"list_transform(list_filter({entries}, lambda e: {kept}), lambda e: {{'key': {key}, 'value': {value}}})"
    pairs = f"list_transform(list_sort({named}), lambda e: to_json(e.key) || ':' || e.value)"
    return f"nullif('{{' || array_to_string({pairs}, ',') || '}}', '{{}}')"


def tags_of_columns(fields: Fields, keys: Mapping[str, str]) -> str:
    """Tags from one column each: ``keys`` maps canonical column names to tag keys; JSON with sorted keys."""
    if not keys:
        return NULL
    pairs = []
    for name, key in sorted(keys.items(), key=lambda item: item[1]):
        value = fields.text(name)
        pairs.append(f"{literal(_json_key(key) + ':')} || to_json({value})")
    return f"nullif('{{' || concat_ws(',', {', '.join(pairs)}) || '}}', '{{}}')"


def _json_key(key: str) -> str:
    import json

    return json.dumps(key, ensure_ascii=False)
