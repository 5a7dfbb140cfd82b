"""Logs and reports of CloudFront: each kind is recognised, and what can't be read names its line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence

import pytest

from include.levers.cdn_price_class.usage import Traffic, Usage, UsageError, merged, read_bytes

W3C = (
    "#Version: 1.0\n"
    "#Fields: date time sc-bytes c-country cs-uri-stem\n"
    "2026-11-01\t10:00:00\t1000\tUS\t/a\n"
    "2026-11-01\t10:00:01\t500\tjp\t/b\n"
    "2026-11-01\t10:00:02\t0\tUS\t/c\n"
)
WANTED = {"JP": Traffic(500, 1), "US": Traffic(1000, 2)}
LOCATIONS = (
    "Version,1.0\nReport,Locations\nDistributionID,E1\nStartDateUTC,2026-10-01T00:00:00Z\n\n"
    "LocationCode,LocationName,RequestCount,RequestPct,TotalBytes\n"
    'US,United States,2,66.7,"1,000"\n'
    "JP,Japan,1,33.3,500\n"
)
REPORT = (
    "Service,Operation,UsageType,Resource,StartTime,EndTime,UsageValue\n"
    "AmazonCloudFront,GET,US-DataTransfer-Out-Bytes,E1,10/01/26,10/02/26,1000\n"
    "AmazonCloudFront,GET,US-Requests-Tier2-HTTPS,E1,10/01/26,10/02/26,2\n"
    "AmazonCloudFront,GET,JP-DataTransfer-Out-Bytes,E1,10/01/26,10/02/26,500\n"
    "AmazonCloudFront,GET,JP-Requests-Tier1,E1,10/01/26,10/02/26,1\n"
    "AmazonCloudFront,PUT,JP-DataTransfer-Out-OBytes,E1,10/01/26,10/02/26,77\n"
)


def json_lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


JSON = json_lines(
    {"date": "2026-11-01", "c-country": "US", "sc-bytes": "1000"},
    {"sc-bytes": 500, "c-country": "JP"},
    {"c-country": "us", "sc-bytes": "0", "x-edge-result-type": "Hit"},
)


def usage_of(text: str) -> Usage:
    return read_bytes(text.encode())


@pytest.mark.parametrize(
    ("text", "kind", "rows"),
    [
        (W3C, "w3c log", 3),
        (W3C.replace("\n", "\r\n"), "w3c log", 3),
        ("\ufeff" + W3C, "w3c log", 3),
        (W3C.rstrip("\n"), "w3c log", 3),
        (JSON, "json log", 3),
        ("\ufeff" + JSON.replace("\n", "\r\n\r\n"), "json log", 3),
        (LOCATIONS, "csv report", 2),
        ("\ufeff" + LOCATIONS.replace("\n", "\r\n"), "csv report", 2),
        (REPORT, "csv report", 4),
        ("country,bytes,requests\nUS,1000,2\nJP,500,1\n", "csv report", 2),
        ("c-country,sc-bytes\nUS,1000\nJP,500\nUS,0\n", "csv report", 3),
        ("c-country\tsc-bytes\nUS\t1000\nJP\t500\nUS\t0\n", "csv report", 3),
        ("# of October\ncountry,bytes,requests\nUS,1000,2\nJP,500,1\n", "csv report", 2),
    ],
)
def test_every_kind_gives_the_same_bytes_and_requests_by_country(text: str, kind: str, rows: int) -> None:
    found = usage_of(text)
    assert (found.by_country, found.kind, found.rows) == (WANTED, kind, rows)
    assert read_bytes(gzip.compress(text.encode())) == found


def test_a_log_of_several_files_may_name_its_fields_anew() -> None:
    second = "#Version: 1.0\n#Fields: c-country sc-bytes\nDE\t7\n"
    assert usage_of(W3C + second).by_country == {**WANTED, "DE": Traffic(7, 1)}
    packed = gzip.compress(W3C.encode()) + gzip.compress(second.encode())
    assert read_bytes(packed).by_country == {**WANTED, "DE": Traffic(7, 1)}


REMEDY = "choose it in the distribution's standard logging"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the file is empty"),
        ("\n\r\n", 2, "the file is empty"),
        ("#Version: 1.0\n#Fields: c-country sc-bytes\n", 2, "there is no row"),
        ("LocationCode,RequestCount,TotalBytes\n", 1, "there is no row"),
        ("#Version: 1.0\n#Fields: date time sc-bytes\n2026\t1\t2\n", 2, f"field c-country is missing: {REMEDY}"),
        ("#Fields: date c-country\n2026\tUS\n", 1, f"field sc-bytes is missing: {REMEDY}"),
        ("#Version: 1.0\n2026\tUS\t1\n", 2, "a row comes before the line #Fields"),
        (W3C + "2026-11-01\t10:00:03\t5\n", 6, "the row has 3 values, #Fields names 5"),
        (W3C.replace("\t500\t", "\t-5\t"), 4, "sc-bytes is '-5', wanted a whole number of 0 or more"),
        (W3C.replace("\t500\t", "\t1_0\t"), 4, "sc-bytes is '1_0'"),
        (W3C.replace("\t500\t", "\t\u0665\t"), 4, "sc-bytes is"),
        (W3C.replace("\t500\t", f"\t{'9' * 5000}\t"), 4, "sc-bytes is"),
        (W3C.replace("jp", "ZZ"), 4, "country 'ZZ' is no ISO 3166-1 code of two letters"),
        (W3C.replace("jp", "-"), 4, "c-country is '-': the viewer's country is not known"),
        (JSON + "{\n", 4, "it is no JSON object"),
        (JSON + "[1]\n", 4, "it is list, wanted a JSON object"),
        (json_lines({"sc-bytes": "1"}), 1, f"field c-country is missing: {REMEDY}"),
        (JSON + json_lines({"sc-bytes": "1"}), 4, "field c-country is missing"),
        (JSON + json_lines({"c-country": None, "sc-bytes": "1"}), 4, "c-country is None, wanted a code"),
        (JSON + json_lines({"c-country": "US", "sc-bytes": -1}), 4, "sc-bytes is -1"),
        (JSON + json_lines({"c-country": "US", "sc-bytes": 1.5}), 4, "sc-bytes is 1.5"),
        (JSON + json_lines({"c-country": "US", "sc-bytes": True}), 4, "sc-bytes is True"),
        (LOCATIONS + "FR,France,x,1,5\n", 9, "RequestCount is 'x'"),
        (LOCATIONS + "FR,France,1\n", 9, "the row has 3 values, the head 5"),
        (LOCATIONS + 'FR,"France,1,2,3\n', 9, "it is no row of a CSV file"),
        (LOCATIONS + "FR,France,1,1,1-2\n", 9, "TotalBytes is '1-2'"),
        (LOCATIONS + 'FR,France,1,1,"1,2"\n', 9, "TotalBytes is '1,2'"),
        ("country,bytes\nUS,1\n", 1, "column requests is missing"),
        ("date,sc-bytes,cs-uri-stem\n2026,1,/\n", 1, "no field c-country"),
        ("plain words\n" * 60, 1, "no field c-country"),
        ("US\t1\t2\n", 1, "no field c-country"),
        (json_lines({"c-country": "US", "sc-bytes": 10**400}), 1, "sc-bytes is 1000"),
        (W3C.replace("jp", "\u00df"), 4, "is no ISO 3166-1 code of two letters"),
        (W3C.replace("date", "c-country", 1), 2, "field ccountry is there twice"),
        ("country,bytes,bytes,requests\nUS,1,2,3\n", 1, "field bytes is there twice"),
        ("US" * 2**20, 1, "it is longer than 1048576 bytes"),
        (W3C + "\t\t\t\t\n", 6, "sc-bytes is ''"),
        (W3C + "\t\n", 6, "the row has 2 values, #Fields names 5"),
        ("country,bytes,requests\rUS,1000,2\rJP,500,1\r", 1, "it is no row of a CSV file"),
        ('Report,"Loca\rtions\nx\ry\ncountry,bytes,requests\nUS,1,2\n', 2, "it is no row of a CSV file"),
        ('{"c-country":"US","c-country":"JP","sc-bytes":1}\n', 1, "field ccountry is there twice: leave one out"),
        (JSON + '{"c-country":"US","sc-bytes":1,"sc_bytes":2}\n', 4, "field scbytes is there twice"),
    ],
)
def test_what_cant_be_read_names_its_line_and_the_field(text: str, line: int, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        usage_of(text)
    assert (raised.value.line, str(raised.value).startswith(f"line {line}: ")) == (line, True)
    assert said in str(raised.value)


@pytest.mark.parametrize("head", ["#Version: 1.0\n#Report: Locations\n", "Report,Location\nGrouping,Country\n"])
def test_a_preamble_is_neither_a_log_nor_the_head_of_the_table(head: str) -> None:
    assert usage_of(head + LOCATIONS.partition("\n\n")[2]).by_country == WANTED


def test_bytes_that_are_no_text_and_a_damaged_packing_are_named() -> None:
    with pytest.raises(UsageError, match="line 3: it is not text in UTF-8"):
        read_bytes(b"#Version: 1.0\n#Fields: c-country sc-bytes\n\xff\xfe\t1\n")
    packed = gzip.compress(W3C.encode())
    with pytest.raises(UsageError, match=r"line \d+: the packed file is damaged"):
        read_bytes(packed[: len(packed) // 2])
    with pytest.raises(UsageError, match="line 1: the packed file is damaged"):
        read_bytes(packed[:2] + b"\0" * 20)


def test_files_are_merged_and_scaled_to_the_totals_of_a_month() -> None:
    both = merged([usage_of(W3C), usage_of("country,bytes,requests\nJP,500,2\nIN,1000,3\n")])
    assert both.by_country == {"IN": Traffic(1000, 3), "JP": Traffic(1000, 3), "US": Traffic(1000, 2)}
    assert (both.total, both.rows) == (Traffic(3000, 8), 5)
    month = both.scaled(6_000_000, 80)
    assert month.by_country == {
        "IN": Traffic(2_000_000, 30), "JP": Traffic(2_000_000, 30), "US": Traffic(2_000_000, 20),
    }  # fmt: skip
    silent = usage_of("c-country,sc-bytes\nUS,0\n").scaled(0, 10)
    assert silent.by_country == {"US": Traffic(0, 10)}


def test_a_large_log_is_read_line_by_line() -> None:
    def rows(count: int) -> Sequence[str]:
        return [f"2026-11-01\t10:00:00\t{n}\t{'US' if n % 2 else 'DE'}\t/a" for n in range(count)]

    text = "\n".join([*W3C.splitlines()[:2], *rows(50_000)])
    found = read_bytes(gzip.compress(text.encode()))
    assert found.rows == 50_000
    assert found.by_country == {"DE": Traffic(sum(range(0, 50_000, 2)), 25_000), "US": Traffic(625_000_000, 25_000)}
