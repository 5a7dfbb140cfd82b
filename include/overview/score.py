"""The scorecard of the completion report as of now: the same rules, from the copy of the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.storage import Storage
from include.completion.report import REQUIRED_SHARE, History, Inputs, Score, scorecard
from include.completion.store import COMMITMENTS
from include.cost.validation.records import ROOT as VALIDATIONS
from include.estate import Estate
from include.overview.ledger_copy import LedgerContent
from include.rollout.ledger import Record

Json = Any
WANTED_PASSES = {"P0": 1.0, "P1": 0.8, "P2": 0.5}  # share of a priority's lines that must pass


@dataclass(frozen=True)
class Evidence:
    """What the scorecard takes from the storage of costs; "" and None where it isn't there."""

    validation: Mapping[str, Json] | None = None
    validation_key: str = ""
    commitments_key: str = ""


def read_evidence(storage: Storage) -> Evidence:
    """The newest validation and analysis of commitments. Raises what the store raises, ValueError for no JSON."""
    keys = [key for key in storage.keys(VALIDATIONS) if key.endswith(".json")]
    newest = max(keys, default="")
    commitments = max((key for key in storage.keys(COMMITMENTS) if key.endswith(".json")), default="")
    return Evidence(json.loads(storage.read(newest)) if newest else None, newest, commitments)


def history_of(content: LedgerContent, regions: tuple[str, ...]) -> History:
    """The runs of every lever in ``regions``, of the chains that add up, by time."""
    problems = content.problems
    runs: dict[tuple[str, str], list[list[Record]]] = {}
    for path, chain in content.of_places().items():
        lever, place, _ = path.split("/")
        if place in regions and chain.records and path not in problems:
            runs.setdefault((lever, place), []).append(list(chain.records))
    return History({key: sorted(found, key=lambda records: records[0].time) for key, found in runs.items()})


def scores_of(content: LedgerContent, estate: Estate, evidence: Evidence, report_key: str) -> list[Score]:
    """P0, P1 and P2, each line with its verdict and what it was judged by."""
    regions = tuple(estate.ordered_regions())
    return scorecard(
        Inputs(
            estate=estate,
            regions=regions,
            history=history_of(content, regions),
            validation=evidence.validation,
            validation_key=evidence.validation_key,
            report_key=report_key,
            commitments_key=evidence.commitments_key,
        )
    )


@dataclass(frozen=True)
class Priority:
    """How many lines of a priority pass, fail and are unknown, and the verdict over all."""

    name: str
    passed: int
    failed: int
    unknown: int
    wanted: str
    verdict: str

    @property
    def of(self) -> int:
        """How many there are."""
        return self.passed + self.failed + self.unknown


def priorities(scores: list[Score]) -> list[Priority]:
    """P0, P1 and P2 in that order; unknown is never a pass."""
    return [_priority(name, [score.verdict for score in scores if score.priority == name]) for name in WANTED_PASSES]


def _priority(name: str, verdicts: list[str]) -> Priority:
    passed, failed, unknown = (verdicts.count(word) for word in ("pass", "fail", "unknown"))
    needed = WANTED_PASSES[name] * len(verdicts)
    verdict = "pass" if verdicts and passed >= needed else "fail" if len(verdicts) - failed < needed else "unknown"
    return Priority(name, passed, failed, unknown, REQUIRED_SHARE[name], verdict)
