"""The scorecard of the completion report as of now: the same rules, from the copy of the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.storage import Storage
from include.completion.history import History
from include.completion.scorecard import REQUIRED, REQUIRED_SHARE, Inputs, Score, priority_verdict, scorecard
from include.completion.store import COMMITMENTS
from include.cost.validation.records import ROOT as VALIDATIONS
from include.estate import Estate
from include.overview.ledger_copy import LedgerContent
from include.rollout.ledger import Everything, Kept
from include.rollout.place import DEVICES, ESTATE_WIDE

Json = Any


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


def everything_of(content: LedgerContent) -> Everything:
    """The copy as the completion report reads a ledger."""
    problems = content.problems
    chains = {
        path: [Kept(record, sha256) for record, sha256 in zip(chain.records, chain.hashes, strict=True)]
        for path, chain in content.chains.items()
        if path not in problems
    }
    return Everything(chains, problems)


def scores_of(
    content: LedgerContent, estate: Estate, names: Sequence[str], evidence: Evidence, report_key: str
) -> list[Score]:
    """P0, P1 and P2, each line with its verdict, what it was judged by and the records that say so."""
    regions = estate.ordered_regions()
    history = History.of(everything_of(content), names, [*regions, ESTATE_WIDE, DEVICES])
    return scorecard(
        Inputs(
            estate=estate,
            regions=tuple(regions),
            history=history,
            validation=evidence.validation,
            validation_key=evidence.validation_key,
            report_key=report_key,
            commitments_key=evidence.commitments_key,
            validated=history.validated[-1] if history.validated else None,
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


def priorities(scores: Sequence[Score]) -> list[Priority]:
    """P0, P1 and P2 in that order, by the completion report's own rule."""
    return [_priority(name, [score.verdict for score in scores if score.priority == name]) for name in REQUIRED]


def _priority(name: str, verdicts: Sequence[str]) -> Priority:
    passed, failed, unknown = (verdicts.count(word) for word in ("pass", "fail", "unknown"))
    return Priority(name, passed, failed, unknown, REQUIRED_SHARE[name], priority_verdict(verdicts, name))
