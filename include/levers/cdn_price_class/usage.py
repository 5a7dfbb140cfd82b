"""Bytes and requests by viewer country, out of CloudFront's logs and reports. One parser that recognises which it is.

Read as a stream, one line at a time: a log may be larger than memory. Nothing is guessed and nothing skipped: a row
that can't be read, or whose country is not known, ends the reading with its line.

- standard logs v2, ``w3c``: rows with tabs under ``#Fields:``, whose order is read from there;
- standard logs v2, ``json``: one object a line;
- the console's Locations report, the account's usage report, or a table of one's own as CSV, after any preamble.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from include.levers.cdn_price_class.latency import countries

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
PREAMBLE = 40  # lines in which a report's column heads must come
COUNTRY = ("ccountry", "country", "countrycode", "viewercountry", "locationcode", "location")
SIZE = ("scbytes", "bytes", "totalbytes", "bytestransferred", "totalbytestransferred", "bytesout")
REQUESTS = ("requests", "requestcount", "totalrequests", "totalrequestcount", "numberofrequests", "count")
LONGEST_LINE = 2**20  # bytes: CloudFront cuts its fields long before; packed zeros are a line of any length
LONGEST = 20  # digits of a number: more than any month has bytes
# The usage report counts by region of the EDGE: a country of each stands for its viewers.
EDGE_REGIONS = {
    **{code: code for code in ("US", "CA", "MX", "ZA", "IL", "JP", "AU", "IN")},
    "EU": "DE",
    "ME": "AE",
    "AP": "SG",
    "SA": "BR",
}
EGRESS = re.compile(r"^([A-Z]{2})-DataTransfer-Out-Bytes$")
ASKED = re.compile(r"^([A-Z]{2})-Requests-(?:HTTPS-)?(?:Tier1|Tier2|Tier2-HTTPS|Proxy|HTTP-Proxy|HTTPS-Proxy)$")


class UsageError(ValueError):
    """A file that can't be used: which line, what is wrong, and the remedy."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


@dataclass(frozen=True)
class Traffic:
    """What the viewers of one country were sent, and how often they asked."""

    bytes: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Usage:
    """Traffic by ISO country code; ``rows`` that were read, and what ``kind`` of file it was."""

    by_country: Mapping[str, Traffic]
    rows: int
    kind: str

    @property
    def total(self) -> Traffic:
        """Of all countries."""
        every = self.by_country.values()
        return Traffic(sum(one.bytes for one in every), sum(one.requests for one in every))

    def scaled(self, size: int, requests: int) -> Usage:
        """With the same shares of the countries in other totals, such as those of a month."""
        total = self.total

        def part(value: int, old: int, new: int) -> int:
            return round(value * new / old) if old else 0

        scaled = {
            country: Traffic(part(one.bytes, total.bytes, size), part(one.requests, total.requests, requests))
            for country, one in self.by_country.items()
        }
        return Usage(scaled, self.rows, self.kind)


Row = tuple[str, int, int]  # country as it is written, bytes, requests
Rows = Iterator[tuple[int, Row]]


def read(file: io.BufferedReader) -> Usage:
    """The usage in a file, packed or not. Raises UsageError with the line."""
    return _read(iter(partial(_unpacked(file).readline, LONGEST_LINE + 1), b""))


def _unpacked(file: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(file, "rb") if file.peek(2)[:2] == GZIP else file


def read_bytes(data: bytes) -> Usage:
    """The usage in what a file held."""
    return read(io.BufferedReader(io.BytesIO(data)))


def merged(parts: Sequence[Usage]) -> Usage:
    """Several files as one."""
    found: dict[str, list[int]] = {}
    for part in parts:
        _add(found, ((country, one.bytes, one.requests) for country, one in part.by_country.items()))
    return _usage(found, sum(part.rows for part in parts), parts[0].kind if parts else "")


def _add(found: dict[str, list[int]], rows: Any) -> None:
    for country, size, requests in rows:
        sums = found.setdefault(country, [0, 0])
        sums[0] += size
        sums[1] += requests


def _usage(found: Mapping[str, Sequence[int]], rows: int, kind: str) -> Usage:
    return Usage({country: Traffic(*found[country]) for country in sorted(found)}, rows, kind)


# Lines ---------------------------------------------------------------------------------------------------------------


class _Lines:
    """Decoded lines without their ends, blank ones left out; ``number`` is that of the last one."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while True:
            try:
                raw = next(self._file)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UsageError(self.number + 1, f"the packed file is damaged ({error}): fetch it again") from error
            self.number += 1
            if len(raw) > LONGEST_LINE:
                raise UsageError(self.number, f"it is longer than {LONGEST_LINE} bytes: give a log or a report")
            if self.number == 1:
                raw = raw.removeprefix(BOM)
            try:
                text = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UsageError(self.number, "it is not text in UTF-8: give CloudFront's log or report") from error
            if text.strip(" "):  # a line of tabs is a row whose values are lost
                return text


def _read(file: Iterable[bytes]) -> Usage:
    lines = _Lines(file)
    first = next(lines, None)
    if first is None:
        raise UsageError(max(1, lines.number), "the file is empty: give a log or a report with at least one row")
    kind, rows = _recognised(first, lines)
    found: dict[str, list[int]] = {}
    known, count = countries(), 0
    for number, (country, size, requests) in rows:
        code = country.strip().upper()
        if code not in known or not country.isascii():  # the upper case of a sharp s is SS, South Sudan
            raise UsageError(number, _unknown(country))
        sums = found.get(code)
        if sums is None:
            sums = found[code] = [0, 0]
        sums[0] += size
        sums[1] += requests
        count += 1
    if not count:
        raise UsageError(max(1, lines.number), "there is no row: give a log or a report with at least one")
    return _usage(found, count, kind)


def _unknown(country: str) -> str:
    if country.strip() in ("", "-"):
        return f"c-country is {country!r}: the viewer's country is not known; choose the field c-country in the log"
    return f"country {country!r} is no ISO 3166-1 code of two letters: correct it"


def _recognised(first: str, lines: _Lines) -> tuple[str, Rows]:
    text: str | None = first
    is_versioned = False
    while text is not None and text.startswith("#"):
        if text.lower().startswith("#fields"):
            return "w3c log", _w3c(text, lines)
        is_versioned = is_versioned or text.lower().startswith("#version")
        text = next(lines, None)
    if text is None:
        return "", iter(())
    if is_versioned and "," not in text:  # a report may have a version too
        return "w3c log", _w3c(text, lines)
    if text.lstrip().startswith("{"):
        return "json log", _json(text, lines)
    return "csv report", _csv(text, lines)


# Kinds ---------------------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    """A field's name without what formats spell differently: ``c-country``, ``c_country``, ``TotalBytes``."""
    return re.sub(r"[^a-z]", "", name.lower())


def _column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    plain = [_plain(name) for name in names]
    return next((plain.index(name) for name in wanted if name in plain), None)


def _whole(line: int, field: str, text: Any) -> int:
    """A number of bytes or requests."""
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < 10**LONGEST:
        return text
    said = text.strip() if isinstance(text, str) else ""
    if not (said.isascii() and said.isdigit() and len(said) <= LONGEST):
        raise UsageError(line, f"{field} is {text!r}, wanted a whole number of 0 or more: correct it")
    return int(said)


def _grouped(line: int, field: str, text: str) -> int:
    """A number as spreadsheets write it: 1,234,567."""
    is_grouped = re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", text.strip())
    return _whole(line, field, text.replace(",", "") if is_grouped else text)


def _once(line: int, names: Sequence[str]) -> None:
    """Raise UsageError for a name of ours that stands twice: nobody knows which of the columns counts."""
    plain = [name for name in map(_plain, names) if name in {*COUNTRY, *SIZE, *REQUESTS}]
    if twice := next((name for name in plain if plain.count(name) > 1), None):
        raise UsageError(line, f"field {twice} is there twice: leave one out")


def _needed(line: int, names: Sequence[str], wanted: Sequence[str], field: str) -> int:
    at = _column(names, wanted)
    if at is None:
        raise UsageError(line, f"field {field} is missing: choose it in the distribution's standard logging (v2)")
    return at


def _w3c(first: str, lines: _Lines) -> Rows:
    at: tuple[int, int, int] | None = None
    for text in chain([first], lines):
        if text.startswith("#"):
            at = _fields(text, lines.number) or at
            continue
        if at is None:
            raise UsageError(lines.number, "a row comes before the line #Fields: give the log as CloudFront wrote it")
        country, size, width = at
        values = text.split("\t") if "\t" in text else text.split()
        if len(values) != width:
            raise UsageError(lines.number, f"the row has {len(values)} values, #Fields names {width}: restore the line")
        yield lines.number, (values[country], _whole(lines.number, "sc-bytes", values[size]), 1)


def _fields(text: str, line: int) -> tuple[int, int, int] | None:
    """Where country and bytes stand in a row, and how many values it has, from a line ``#Fields:``."""
    head, _, rest = text.partition(":")
    if head.strip().lower() != "#fields":
        return None
    names = rest.split()
    _once(line, names)
    country = _needed(line, names, COUNTRY[:1], "c-country")
    return country, _needed(line, names, SIZE[:1], "sc-bytes"), len(names)


def _json(first: str, lines: _Lines) -> Rows:
    keys: dict[tuple[str, ...], tuple[str, str, str | None]] = {}
    for text in chain([first], lines):
        line = lines.number
        try:
            raw = json.loads(text, object_pairs_hook=partial(_object, line))
        except UsageError:
            raise
        except (ValueError, RecursionError) as error:
            raise UsageError(line, f"it is no JSON object ({error}): restore the line") from error
        if not isinstance(raw, dict):
            raise UsageError(line, f"it is {type(raw).__name__}, wanted a JSON object: restore the line")
        names = tuple(raw)
        if names not in keys:
            keys[names] = _keys(line, names)
        country, size, requests = keys[names]
        if not isinstance(raw[country], str):
            raise UsageError(line, f"{country} is {raw[country]!r}, wanted a code of two letters: correct it")
        count = 1 if requests is None else _whole(line, requests, raw[requests])
        yield line, (raw[country], _whole(line, size, raw[size]), count)


def _object(line: int, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which no field of ours stands twice: json.loads itself keeps the last one without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _once(line, [name for name, _ in pairs])
    return found


def _keys(line: int, names: Sequence[str]) -> tuple[str, str, str | None]:
    _once(line, names)
    country = _needed(line, names, COUNTRY, "c-country")
    requests = _column(names, REQUESTS)
    size = names[_needed(line, names, SIZE, "sc-bytes")]
    return names[country], size, None if requests is None else names[requests]


# Reports -------------------------------------------------------------------------------------------------------------


def _csv(first: str, lines: _Lines) -> Rows:
    line = lines.number
    for text in chain([first], lines):
        names = _head(lines.number, text)
        plain = {_plain(name) for name in names}
        if {"usagetype", "usagevalue"} <= plain:
            return _billed(names, lines)
        if plain & {*COUNTRY} and plain & {*SIZE, *REQUESTS}:  # a preamble may say Location, or Country, as well
            return _located(names, lines)
        if plain & {*SIZE}:
            line = lines.number  # the head of a table, but without a country
            break
        if lines.number >= line + PREAMBLE:
            break
    raise UsageError(
        line,
        "no field c-country (log), LocationCode (Locations report) or UsageType (usage report): without the viewers' "
        "countries nothing can be judged; choose c-country in the distribution's standard logging (v2)",
    )


def _head(line: int, text: str) -> list[str]:
    try:
        return _split(text)
    except csv.Error as error:  # such as the line ends of an old Mac, which make one line of the whole file
        raise UsageError(line, f"it is no row of a CSV file ({error}): save it with line ends of today") from error


def _split(text: str, strict: bool = False) -> list[str]:
    return next(csv.reader([text], delimiter="\t" if "\t" in text else ",", strict=strict), [])


def _cells(names: Sequence[str], lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    for text in lines:
        values = _split(text, strict=True)
        if len(values) != len(names):
            raise UsageError(lines.number, f"the row has {len(values)} values, the head {len(names)}: restore the line")
        yield lines.number, values


def _guarded(rows: Iterator[Any], lines: _Lines) -> Iterator[Any]:
    try:
        yield from rows
    except csv.Error as error:
        raise UsageError(lines.number, f"it is no row of a CSV file ({error}): restore the line") from error


def _located(names: Sequence[str], lines: _Lines) -> Rows:
    """Rows of a table by country: the Locations report, a log as CSV, or one's own."""
    _once(lines.number, names)
    country = _needed(lines.number, names, COUNTRY, "LocationCode")
    size = _needed(lines.number, names, SIZE, "TotalBytes")
    requests = _column(names, REQUESTS)
    if requests is None and _plain(names[size]) != "scbytes":
        raise UsageError(lines.number, "column requests is missing: without it neither fees nor shares are known")

    def rows() -> Rows:
        for line, values in _cells(names, lines):
            count = 1 if requests is None else _grouped(line, names[requests], values[requests])
            yield line, (values[country], _grouped(line, names[size], values[size]), count)

    return _guarded(rows(), lines)


def _billed(names: Sequence[str], lines: _Lines) -> Rows:
    """Rows of the account's usage report: only what counts as egress to viewers or as their requests."""
    kind, value = _column(names, ("usagetype",)), _column(names, ("usagevalue",))

    def rows() -> Rows:
        for line, values in _cells(names, lines):
            for pattern, make in ((EGRESS, _sent), (ASKED, _asked)):
                if match := pattern.match(values[kind or 0].strip()):
                    country = EDGE_REGIONS.get(match[1], match[1])
                    yield line, make(country, _grouped(line, "UsageValue", values[value or 0]))

    return _guarded(rows(), lines)


def _sent(country: str, value: int) -> Row:
    return country, value, 0


def _asked(country: str, value: int) -> Row:
    return country, 0, value
