"""What the tests of the rollback share."""

from __future__ import annotations

from dataclasses import replace

from include.estate import Estate
from include.rollout.ledger import Step
from include.rollout.steps import Run
from tests.unit.rollout.toy_runs import (
    AP,
    US,
)

ANSWER = {"approved": True, "user": "platform-lead"}


def standing(run: Run, region: str = AP, lever: str = "toy") -> list[str]:
    return [change.chain.run_id for change in run.ledger.standing(lever, region)]


def without(run: Run, *regions: str) -> Run:
    """The run with an estate that has lost regions."""
    raw = run.estate.model_dump(mode="json")
    raw["regions"] = {name: region for name, region in raw["regions"].items() if name not in regions}
    return replace(run, estate=Estate.model_validate(raw))


def old_snapshot(run: Run) -> None:
    """A promoted run whose snapshot holds no slice, as an older release left it."""
    rollout = replace(run, run_id="old", params={**run.params, "regions": [US]})
    chain = rollout.chain(US)
    figures = {"before": {}, "settings": {"size": 2, "converge_timeout_seconds": 60}, "snapshot": {"size": 1}}
    rollout.ledger.append(chain, Step.SNAPSHOT, figures)
    rollout.ledger.append(chain, Step.TOUCH, {"slot": "step_1", "title": "size 2"})
    rollout.ledger.append(chain, Step.PROMOTED, {"after": {}})
