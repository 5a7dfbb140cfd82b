"""Day 3's levers of the estate together on AWS in memory: each one's approved plan still holds when its turn comes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include import levers
from include.clients.aws import Aws
from include.clients.probes import parse
from include.clients.storage import Folder
from include.estate import load_estate
from include.rollout import several, steps
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Ledger
from include.rollout.lever import differences
from include.rollout.place import ESTATE_WIDE, Place
from include.rollout.several import Several
from include.rollout.steps import Run
from lab.cloud import edge
from lab.cloud.cdn import seed_distribution, seed_logs
from lab.cloud.dns import seed_dns
from lab.cloud.functions import seed_functions
from lab.cloud.storage import seed_models
from lab.rehearsal.edge import EdgeReader, reader
from lab.service.viewers import Distribution, Viewers
from tests.unit.levers.cdn_world import Clock, RegionPrometheus

NAMES = ("dns_health_checks", "storage_tiering", "lambda_edge", "cdn_price_class")
PARAMS = {
    "dry_run": False, "soak_seconds": 5, "gate_window_seconds": 10, "gate_wait_seconds": 0, "minimum_coverage": 0.5,
}  # fmt: skip


class Edge:
    """Everything of the edge in one account, in real time, with the lab's own probes and evidence."""

    def __init__(self, folder: Path) -> None:
        self.estate = load_estate()
        self.session = boto3.Session("x", "x", region_name="us-east-1")
        self.evidence: EdgeReader = reader(self.estate, {"aws_endpoint": None, "plant": ""}, boto3.client)
        now = dt.datetime.now(dt.UTC)
        lambdas = {region: self._client(region, "lambda") for region in {"us-east-1", *self.estate.regions}}
        version = seed_functions(self._client("us-east-1", "iam"), lambdas, self.estate)
        made = seed_distribution(self._client("us-east-1", "cloudfront"), self.estate, version)
        seed_logs(self._client("us-east-1", "s3"), self.estate, made, now, 7)
        seed_models(self._client("us-east-1", "s3"), self.estate, now)
        seed_dns(self._client("us-east-1", "route53"), self.estate)
        found = Distribution(self.estate, "")
        found._client = self._client("us-east-1", "cloudfront")
        self.viewers = Viewers(self.estate, found)
        self.folder, self.ledger = folder, Ledger(Folder(folder))

    def _client(self, region: str, service: str) -> Any:
        return self.session.client(service, region_name=region)

    def clients(self, place: Place) -> Any:
        def results() -> Any:
            self.viewers.refresh()
            return parse(self.viewers.results(), "lab")

        def of(region: str) -> Any:
            aws = Aws(lambda service, config: self._client(region, service))
            return SimpleNamespace(aws=aws, prometheus=RegionPrometheus(Clock(0.0)))

        leases = StoreLeases(Folder(self.folder), place.name)
        probes = SimpleNamespace(results=results)
        return SimpleNamespace(aws=of("us-east-1").aws, of=of, probes=probes, leases=leases)

    def run(self) -> Several:
        estate = self.estate
        found = [levers.lever(name) for name in NAMES]
        run = Run(found[0], estate, PARAMS, "day3_edge", "r", self.ledger, self.clients, lambda _: None)
        return Several.of(run, found)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Edge]:
    edge.as_aws()
    edge.reset()
    with mock_aws():
        yield Edge(tmp_path)


def carry_out(whole: Several, run: Run) -> None:
    """A lever's turn, as its tasks have it."""
    several.begin(whole, run)
    steps.take_snapshot(run, ESTATE_WIDE)
    for slot in run.lever.slots:
        try:
            steps.apply_stage(run, ESTATE_WIDE, slot)
        except steps.NotWanted:
            continue
        while steps.judge_gates(run, ESTATE_WIDE, slot) is None:
            time.sleep(0.5)
    assert steps.decide(run)["promote"], run.records("estate")[-1].figures
    steps.promote(run)


def undo(run: Run) -> None:
    snapshot = run.ledger.snapshot(run.chain(ESTATE_WIDE))
    assert snapshot is not None
    undoing = replace(run, dag_id="rollback", run_id="u")
    undoing.lock(ESTATE_WIDE).take_over()
    steps.undo_changes(undoing, ESTATE_WIDE, snapshot)
    steps.verify_restored(undoing, ESTATE_WIDE, snapshot)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_plan_holds_when_its_turn_comes_and_all_of_it_can_be_undone(aws: Edge) -> None:
    before, whole = aws.evidence.specs(), aws.run()
    several.check_preflight(whole)
    plan = several.make_plan(whole)
    answer = {"approved": True, "user": "platform-lead", "user_id": "platform-lead", "hash": plan["hash"]}
    several.record_answer(whole, answer)
    several.lock_places(whole)
    several.confirm_unchanged(whole)
    for run in whole.runs:
        if not several.nothing_to_do(run):
            carry_out(whole, run)
        assert several.is_done(run), run.lever.name
    several.release_locks(whole)
    verdict = several.conclude(whole, [])
    assert verdict.name == "promoted"
    assert {line.partition(": ")[0]: line.split(": ")[1] for line in verdict.message.splitlines()} == {
        "dns_health_checks": "promoted in estate-wide",
        "storage_tiering": "promoted in estate-wide",
        "lambda_edge": "promoted in estate-wide",
        "cdn_price_class": "nothing to do",  # no cheaper class keeps the limits of Asia and South America
    }
    written = {found.path.split(".")[0] for found in differences(before, aws.evidence.specs())}
    assert written == {"distribution", "functions", "health_checks", "record_sets", "lifecycle"}

    for run in reversed(whole.runs):
        if not several.nothing_to_do(run):
            undo(run)
    assert differences(before, aws.evidence.specs()) == ()
    assert aws.ledger.survey().standing == ()
