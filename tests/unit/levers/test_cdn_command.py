"""``python -m include.levers.cdn_price_class``: one line a candidate, and status 2 with the line's number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from include.levers.cdn_price_class.__main__ import main

REPORT = "LocationCode,RequestCount,TotalBytes\nUS,335000000,27487790694400\nDE,335000000,27487790694400\n"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_text(REPORT)
    return path


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_json_line_for_each_candidate(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(report), "--json"]) == 0
    found = lines_of(capsys)
    assert [set(line) for line in found] == [{"candidate", "usd_month", "p95_weighted_ms", "refused"}] * 12
    # 25 TB each: 870.40 + 15 x 1024 x 0.08; 335 M requests at 1.00 and 1.20 a million
    assert found[0] == {
        "candidate": "PriceClass_All", "usd_month": 4935.4, "p95_weighted_ms": 10.2, "refused": None,
    }  # fmt: skip
    assert [line["candidate"] for line in found[:3]] == ["PriceClass_All", "PriceClass_200", "PriceClass_100"]
    assert {line["candidate"]: line["refused"] for line in found}["flat_premium"] == (
        "670.0 M requests a month are above its 500 M"
    )


def test_days_scale_to_a_month_of_30_4_days(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(report), "--json", "--days", "304"]) == 0
    (first, *_) = lines_of(capsys)
    assert first["usd_month"] == 508.9  # 2.5 TB and 33.5 M requests each, within the first tier: 435.20 + 73.70
    for wrong in ("0", "nan", "-1", "soon"):
        with pytest.raises(SystemExit) as ended:
            main([str(report), "--days", wrong])
        assert ended.value.code == 2


def test_a_packed_log_and_the_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b'{"c-country":"AU","sc-bytes":"1099511627776"}\n'))
    assert main([str(path)]) == 0
    text = capsys.readouterr()
    assert "PriceClass_All             116.74       0.00    10.1  to have" in text.out
    assert "slows apac (100.0% of the requests) from 10.1 to 92.8 ms" in text.out
    assert "counted as one month's usage; --days N scales N days to a month" in text.err


def test_measured_latency_the_class_of_now_and_the_distribution_are_files(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, distribution = tmp_path / "measured.json", tmp_path / "distribution.json"
    measured.write_text('{"US": 20, "eu": 22}')
    items = {"Quantity": 1, "Items": [{"EventType": "origin-request"}]}
    config = {"DefaultCacheBehavior": {"LambdaFunctionAssociations": items}}
    distribution.write_text(json.dumps({"ETag": "E", "DistributionConfig": config}))
    arguments = ["--measured", str(measured), "--distribution", str(distribution), "--current", "PriceClass_100"]
    assert main([str(report), "--json", *arguments]) == 0
    found = {line["candidate"]: line for line in lines_of(capsys)}
    assert found["PriceClass_100"]["p95_weighted_ms"] == 21.0
    assert found["flat_premium_75tb"]["refused"] == "not on a plan: Lambda@Edge is associated"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the file is empty"),
        (REPORT + "ZZ,1,1\n", "line 4: country 'ZZ' is no ISO 3166-1 code"),
        (REPORT + "FR,1\n", "line 4: the row has 2 values, the head 3"),
        (REPORT + "FR,1,-1\n", "line 4: TotalBytes is '-1'"),
        (REPORT.replace("\n", "\r"), "line 1: it is no row of a CSV file"),
    ],
)
def test_what_cant_be_read_ends_with_status_2_and_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = tmp_path / "report.csv"
    path.write_text(text)
    assert main([str(path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{path}: {said}")


def test_a_file_that_is_not_there_and_files_of_the_wrong_shape_are_named(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none"), "--json"]) == 2
    assert "No such file" in capsys.readouterr().err
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[1]")
    assert main([str(report), "--measured", str(wrong)]) == 2
    assert "it is list, wanted a JSON object" in capsys.readouterr().err
    for text, said in (
        ("[" * 10**6, "recursion"),
        ('{"XX": 1}', "'XX': 1 is no P95"),
        ('{"JP": null}', "'JP': None is no P95"),
    ):
        wrong.write_text(text)
        assert main([str(report), "--measured", str(wrong)]) == 2
        assert said in capsys.readouterr().err
    assert main([str(report), "--edges", str(tmp_path / "none.csv")]) == 2
    assert main([str(report), "--prices", str(tmp_path / "none.yaml")]) == 2


@pytest.mark.parametrize("days", ["1e-300", "0", "-1", "nan", "1e300", "x"])
def test_days_that_no_file_covers_are_refused(report: Path, capsys: pytest.CaptureFixture[str], days: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(report), "--json", "--days", days])
    assert ended.value.code == 2
    assert "argument --days: invalid" in capsys.readouterr().err


def test_a_distribution_of_the_wrong_shape_is_named(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"DistributionConfig": 5}')
    assert main([str(report), "--json", "--distribution", str(wrong)]) == 2
    assert "DistributionConfig is int, wanted a JSON object" in capsys.readouterr().err
