"""The lab's viewers: the latency model at the price class that the distribution has, and silence without one."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.probes import parse
from include.estate import load_estate
from include.levers import edge_gates
from lab.service import viewers
from lab.service.viewers import PROBES, Distribution, Viewers

ESTATE = load_estate()
NOW = 1_795_946_400.0


def served_with(price_class: str | None) -> Viewers:
    found = Viewers(ESTATE, lambda: ("E1", price_class) if price_class else None, lambda: NOW)
    found.refresh()
    return found


def test_there_are_ten_probes_and_each_part_of_the_world_has_one() -> None:
    assert len(PROBES) == 10
    for name, group in ESTATE.edge.latency.viewers.items():
        assert set(PROBES.values()) & set(group.countries), name


def test_all_edges_keep_every_limit_and_class_100_breaks_those_of_asia_and_south_america() -> None:
    def parts(price_class: str) -> dict[str, bool]:
        results = parse(served_with(price_class).results(), "lab")
        limits = {name: group.p95_ms for name, group in ESTATE.edge.latency.viewers.items() if group.p95_ms}
        found = {name: edge_gates.p95_of(results, ESTATE, name) for name in limits}
        return {name: figure is not None and figure.value < limits[name] for name, figure in found.items()}

    assert parts("PriceClass_All") == dict.fromkeys(["us", "eu", "apac", "india", "south_america"], True)
    assert parts("PriceClass_100") == {
        "us": True, "eu": True, "apac": False, "india": False, "south_america": False,
    }  # fmt: skip


def test_a_result_has_its_time_and_a_minute_of_samples() -> None:
    result = served_with("PriceClass_All").results()[0]
    assert (result["region"], result["country"], result["samples"]) == ("virginia", "US", 60)
    assert dt.datetime.fromisoformat(result["time"]).timestamp() == NOW
    assert result["p95_ms"] == viewers.p95_ms("virginia", "US", "PriceClass_All", NOW)


def test_without_a_distribution_the_probes_are_silent_and_there_is_no_series() -> None:
    silent = served_with(None)
    assert {result["p95_ms"] for result in silent.results()} == {None}
    assert list(silent.series()) == []


def test_series_have_probe_country_and_part_and_the_hit_rate_is_a_percentage() -> None:
    lines = list(served_with("PriceClass_All").series())
    p95 = viewers.p95_ms("mumbai", "IN", "PriceClass_All", NOW)
    assert f'akidb_probe_p95_ms{{probe="mumbai",country="IN",part="india"}} {p95:.3f}' in lines
    assert 'akidb_probe_samples_total{probe="mumbai",country="IN",part="india"} 1795946400' in lines
    assert lines[-1] == 'cloudfront_cache_hit_rate{distribution="E1"} 97.000'


def distribution(*answers: Any) -> Distribution:
    left = list(answers)

    def list_distributions() -> Any:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"DistributionList": {"Items": answer} if answer else {}}

    found = Distribution(ESTATE, "http://nowhere")
    found._client = SimpleNamespace(list_distributions=list_distributions)
    return found


def listed(price_class: str, status: str, alias: str = "cdn.akidb.example") -> dict[str, Any]:
    return {"Id": "E1", "Status": status, "PriceClass": price_class, "Aliases": {"Items": [alias]}}


def test_the_class_before_serves_until_the_new_one_is_deployed() -> None:
    read = distribution(
        [listed("PriceClass_All", "Deployed")],
        [listed("PriceClass_100", "InProgress")],
        [listed("PriceClass_100", "Deployed")],
    )
    assert [read() for _ in range(3)] == [("E1", "PriceClass_All")] * 2 + [("E1", "PriceClass_100")]


def test_another_alias_or_no_answer_is_no_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    read = distribution([listed("PriceClass_All", "Deployed", "www.example")], [], ConnectionError("reset"))
    assert [read() for _ in range(3)] == [None, None, None]
    assert capsys.readouterr().out == "no distribution can be read (ConnectionError: reset): the probes are silent\n"
