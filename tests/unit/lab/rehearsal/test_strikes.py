"""When each fault strikes and is lifted, by the run's records alone, and what it does to the lab."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import storm
from lab.rehearsal.served import Served
from lab.rehearsal.strikes import STRIKES, Strike

AP, US = "ap-northeast-1", "us-east-1"
EDGE = "estate-wide"


def record(step: str, region: str = US, lever: str = "spot_capacity", **figures: Any) -> Record:
    return Record(lever, region, "day1_spot", "r", 1, FIRST_LINK, step, "2026-11-24T10:00:00+00:00", figures)


class FakeHands:
    """Writes down what is done to the lab."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.requests = Served(1000.0, 1000.0)
        self.text: str | None = "AkiDB"

    def kill(self, process: str) -> None:
        self.done.append(f"kill {process}")

    def restart(self, process: str) -> None:
        self.done.append(f"restart {process}")

    def predictor_arguments(self, arguments: Sequence[str] | None) -> None:
        self.done.append(f"predictor {arguments}")

    def spot_nodes(self, region: str) -> dict[str, str]:
        return {f"node-{n}": f"i-{n}" for n in range(4)}

    def interrupt(self, region: str, instance: str) -> None:
        self.done.append(f"interrupt {region} {instance}")

    def counted(self, region: str) -> Served:
        return self.requests

    def comment(self) -> str | None:
        return self.text

    def set_comment(self, text: str) -> None:
        self.text = text


class Clock:
    """Seconds that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> FakeHands:
    return FakeHands()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strike(tmp_path: Path, hands: FakeHands, clock: Clock) -> Any:
    def made(name: str) -> Strike:
        return STRIKES[name](name, AP, [AP, US], tmp_path, tmp_path, hands, clock)

    return made


def test_the_gate_fault_waits_for_the_canary_and_is_lifted_by_the_rollback(strike: Any, tmp_path: Path) -> None:
    planted = tmp_path / "plant_faults.json"
    fault = strike("gate")
    chains: dict[str, list[Record]] = {AP: [record(Step.TOUCH, AP)], US: []}
    fault.react(chains)
    assert not planted.exists()
    chains[US].append(record(Step.TOUCH))
    fault.react(chains)
    assert json.loads(planted.read_text()) == {US: {"extra_latency_ms": 80}}
    chains[US].append(record(Step.UNDO))
    fault.react(chains)
    assert json.loads(planted.read_text()) == {}
    assert (fault.struck.place, fault.struck.at, fault.struck.problems) == (US, 100.0, ())


def test_memory_leaks_once_a_second_region_resizes_running_pods_and_until_its_undo(
    strike: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = tmp_path / "plant_faults.json"
    fault = strike("oom")
    chains: dict[str, list[Record]] = {
        AP: [record(Step.TOUCH, AP, slot="in_place_rest")],
        US: [record(Step.TOUCH, slot="new_pods")],
    }
    fault.react(chains)
    assert not planted.exists()
    chains[US].append(record(Step.TOUCH, slot="in_place_canary"))
    fault.react(chains)
    assert json.loads(planted.read_text()) == {US: {"leak": {"app": "akidb-grpc", "mib": 4000}}}
    chains[US].append(record(Step.UNDO))
    fault.react(chains)
    fault.react(chains)
    assert json.loads(planted.read_text()) == {}
    assert capsys.readouterr().out.splitlines() == [
        "FAULT=oom: in us-east-1 a pod of akidb-grpc now holds 4000 MiB more",
        "FAULT=oom: lifted, us-east-1 is being rolled back",
    ]


def test_a_fault_that_is_still_in_force_when_the_run_is_over_is_lifted_then(strike: Any, tmp_path: Path) -> None:
    fault = strike("gate")
    fault.end()
    assert not (tmp_path / "plant_faults.json").exists()
    fault.react({AP: [], US: [record(Step.TOUCH)]})
    fault.end()
    assert json.loads((tmp_path / "plant_faults.json").read_text()) == {}


def test_spot_is_dry_from_the_first_steps_gate_to_the_seconds(strike: Any, tmp_path: Path) -> None:
    dry = tmp_path / "ice.json"
    fault = strike("ice")
    chain: list[Record] = [record(Step.TOUCH, AP, slot="step_1")]
    chains = {AP: chain, US: []}
    fault.react(chains)
    assert not dry.exists()
    chain.append(record(Step.GATE, AP, slot="step_1"))
    fault.react(chains)
    assert json.loads(dry.read_text()) == [f"{AP}/spot:*:*"]
    chain.append(record(Step.GATE, AP, slot="step_2"))
    fault.react(chains)
    assert json.loads(dry.read_text()) == []
    assert fault.struck.place == AP


def test_a_storm_takes_its_nodes_one_after_the_other_and_ends_with_the_undo(
    strike: Any, hands: FakeHands, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(storm, "storm_in", lambda _: storm.Storm(0.5, (0.0, 0.5), "a day of prices"))
    fault = strike("spot-storm")
    chains: dict[str, list[Record]] = {AP: [record(Step.TOUCH, AP, slot="step_2")], US: []}
    fault.react(chains)
    assert hands.done == []
    chains[AP].append(record(Step.APPLIED, AP, slot="step_2"))
    fault.react(chains)
    assert hands.done == [f"interrupt {AP} i-0"]
    assert json.loads((tmp_path / "ice.json").read_text()) == [f"{AP}/spot:*:*"]
    clock.now += 10.0
    fault.react(chains)
    assert hands.done == [f"interrupt {AP} i-0", f"interrupt {AP} i-1"]
    chains[AP].append(record(Step.UNDO, AP))
    fault.react(chains)
    assert json.loads((tmp_path / "ice.json").read_text()) == []
    assert capsys.readouterr().out.splitlines() == [
        "FAULT=spot-storm: in ap-northeast-1 no spot capacity, and notices for 2 of 4 spot nodes (a day of prices)",
        "FAULT=spot-storm: over, ap-northeast-1 is being rolled back",
    ]


def test_predictors_are_gone_for_a_while_and_every_request_must_be_served_meanwhile(
    strike: Any, hands: FakeHands, clock: Clock
) -> None:
    fault = strike("forecast-down")
    chains: dict[str, list[Record]] = {AP: [record(Step.TOUCH, AP, slot="reactive")], US: []}
    fault.react(chains)
    assert hands.done == []
    chains[AP].append(record(Step.TOUCH, AP, slot="predictive"))
    fault.react(chains)
    clock.now += 44.0
    hands.requests = Served(3000.0, 2999.0)
    fault.react(chains)
    assert hands.done == ["predictor ['--gone-by-fault']"]
    clock.now += 1.0
    fault.react(chains)
    assert hands.done == ["predictor ['--gone-by-fault']", "predictor None"]
    assert fault.struck.problems == ("only 99.9500% of the requests were served meanwhile",)


def test_the_api_server_is_away_while_the_second_step_is_written(strike: Any, hands: FakeHands, clock: Clock) -> None:
    fault = strike("api-outage")
    chains: dict[str, list[Record]] = {AP: [record(Step.TOUCH, AP, slot="step_2")], US: []}
    fault.react(chains)
    clock.now += 19.0
    fault.react(chains)
    assert hands.done == [f"kill {AP}-kube-apiserver"]
    clock.now += 1.0
    fault.react(chains)
    fault.end()
    assert hands.done == [f"kill {AP}-kube-apiserver", f"restart {AP}-kube-apiserver"]


def test_somebody_elses_comment_must_still_be_there_when_the_day_is_over(
    strike: Any, hands: FakeHands, tmp_path: Path
) -> None:
    fault = strike("etag")
    chains = {EDGE: [record(Step.TOUCH, EDGE, "storage_tiering")], AP: [], US: []}
    fault.react(chains)
    assert not (tmp_path / "edge.json").exists()
    chains[EDGE].append(record(Step.TOUCH, EDGE, "lambda_edge"))
    fault.react(chains)
    assert json.loads((tmp_path / "edge.json").read_text()) == {
        "somebody_else": {"comment": "changed by somebody else"}
    }
    hands.text = "changed by somebody else"
    fault.end()
    assert not (tmp_path / "edge.json").exists()
    assert (hands.text, fault.struck.lever, fault.struck.problems) == ("AkiDB", "lambda_edge", ())


def test_a_foreign_change_that_was_written_over_is_a_problem(strike: Any, hands: FakeHands) -> None:
    fault = strike("etag")
    fault.react({EDGE: [record(Step.TOUCH, EDGE, "cdn_price_class")]})
    fault.end()
    assert fault.struck.problems == ("what somebody else had changed is gone: the comment is 'AkiDB'",)
    assert hands.text == "AkiDB"
