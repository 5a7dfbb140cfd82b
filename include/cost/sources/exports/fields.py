"""SQL for the columns of one export file, whatever types it came with: unknown is null, unreadable is remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from include.cost.table.sql import literal, quoted

# Texts that exports write where there is no value; \\N is that of Hive, Redshift and MySQL.
_NO_TEXT = r"('', 'NULL', 'null', '\N')"
_NO_NUMBER = r"('', 'NULL', 'null', '\N', 'NaN', 'nan', 'None', 'N/A', 'n/a')"
# In lower case: what stands in an invoice's column before there is an invoice.
_NO_ID = r"('', 'null', '\n', 'none', 'nan', 'n/a', 'na', '-', 'not applicable', 'not available', 'pending', 'unknown')"
NULL = "NULL"
# ``user:`` (in CUR 2.0 ``user_``) is taken off a tag's key; ``aws:`` stays.
USER_KEY = "regexp_replace(regexp_replace(e.key, '^user[:_]', ''), '^aws_', 'aws:')"
_PAIR = re.compile(r'STRUCT\("?(key|name|k)"? VARCHAR, "?(value|v)"? VARCHAR\)\[\]$', re.IGNORECASE)


def first_of(*expressions: str) -> str:
    """The first of the expressions that isn't null; ``NULL`` for none."""
    known = [expression for expression in expressions if expression != NULL]
    if not known:
        return NULL
    return known[0] if len(known) == 1 else f"coalesce({', '.join(known)})"


@dataclass(frozen=True)
class Unread:
    """A text column that was asked for as something else; ``fails`` is the condition that ``text`` can't be read."""

    name: str  # canonical
    label: str  # in the file
    text: str
    fails: str


@dataclass
class Fields:
    """Columns by canonical name (lower case) with their name in the relation and their DuckDB type.

    ``labels`` are the names in the file where a relation can't have them: SQL doesn't tell ``Name`` from ``name``.
    ``unread`` gains every text column that was asked for as a number, a time or tags.
    """

    columns: Mapping[str, tuple[str, str]]
    labels: Mapping[str, str] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Is there such a column?"""
        return name.lower() in self.columns

    def text(self, *names: str) -> str:
        """The first of the columns that exists and has a value, as text."""
        return first_of(*(self._text(name, _NO_TEXT) for name in names))

    def identifier(self, name: str) -> str:
        """The column as text; null for the words that say that there is no id yet."""
        text = self.text(name)
        return NULL if text == NULL else f"CASE WHEN lower(trim({text})) NOT IN {_NO_ID} THEN {text} END"

    def label(self, name: str) -> str:
        """The column's name in the file."""
        return self.labels.get(name.lower(), self.columns[name.lower()][0])

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

    def tags(self, name: str, key: str = USER_KEY, keep: str = "TRUE") -> str:
        """A column of tags as the table has them: JSON with sorted keys; null when empty.

        A map, a struct, a list of pairs, or JSON in a text, with its braces or without. ``key`` and ``keep`` are SQL
        over ``e.key``: the tag's key as it counts, and whether it does.
        """
        if not self.has(name):
            return NULL
        entries = self._entries(name)
        if entries == NULL:
            text = f"CAST({self._column(name)} AS VARCHAR)"
            self._remember(name, text, NULL)
            return NULL
        if self._kind(name) in {"VARCHAR", "JSON"}:
            self._remember(name, self.text(name), entries)
        return _tags(entries, key, keep)

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
        self._remember(name, text, parsed)
        return parsed

    def _remember(self, name: str, text: str, parsed: str) -> None:
        fails = f"({text}) IS NOT NULL AND ({parsed}) IS NULL"
        self.unread.append(Unread(name.lower(), self.label(name), text, fails))

    def _column(self, name: str) -> str:
        return quoted(self.columns[name.lower()][0])

    def _kind(self, name: str) -> str:
        return self.columns[name.lower()][1] if self.has(name) else ""

    def _entries(self, name: str) -> str:
        """The column as a list of key and value; ``NULL`` for a type that has none."""
        kind, column = self._kind(name), self._column(name)
        if kind.startswith("MAP"):
            return f"map_entries({column})"
        if kind in {"VARCHAR", "JSON"}:
            text = self.text(name)
            with_braces = f"TRY_CAST('{{' || {text} || '}}' AS JSON)"  # Azure leaves them out
            return first_of(_pairs_of(f"TRY_CAST({text} AS JSON)"), _pairs_of(with_braces))
        if kind.startswith("STRUCT") and not kind.endswith("]"):
            return _pairs_of(f"to_json({column})")
        if pair := _PAIR.match(kind):
            key, value = quoted(pair[1]), quoted(pair[2])
            return f"list_transform({column}, lambda e: {{'key': e.{key}, 'value': to_json(e.{value})}})"
        return NULL


def _pairs_of(json: str) -> str:
    return f"map_entries(TRY_CAST({json} AS MAP(VARCHAR, JSON)))"


def _tags(entries: str, key: str, keep: str) -> str:
    kept = f"({keep}) AND e.value IS NOT NULL AND CAST(e.value AS VARCHAR) NOT IN ('', 'null', 'NULL', '\"\"')"
    named = (
        f"list_transform(list_filter({entries}, lambda e: {kept}), "
        f"lambda e: {{'key': {key}, 'value': to_json(e.value)}})"
    )
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
