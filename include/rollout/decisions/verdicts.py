"""The end of a rollout: what happened, what was left behind, and the next command."""

from __future__ import annotations

import enum
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.rollout.decisions.progress import Records, attempt, failure, waits_for_people
from include.rollout.ledger import WHOLE_RUN, Chain, Record, Step, last


class Ending(enum.StrEnum):
    """Names of the verdicts."""

    PROMOTED = "promoted"
    DRY_RUN = "dry run"
    EXPORTED = "exported"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    NOTHING = "nothing to undo"
    NOTHING_TO_DO = "nothing to do"  # of one lever among several
    NOT_STARTED = "not started"
    HELD = "hypothesis held"  # of a drill, which is set back whatever comes of it


@dataclass(frozen=True)
class Verdict:
    """The end of a run: its name, whether the run may be green, and what to read."""

    name: Ending
    green: bool
    message: str
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """What a verdict is made from. ``touched`` are the places where the run's changes still stand.

    ``undone_by`` names the other run (``dag_id/run_id``) that has undone this one's change, by place.
    """

    chain: Chain
    dry_run: bool
    selected: Sequence[str]
    touched: Sequence[str]
    by_place: Mapping[str, Records]  # with the run's own chain under WHOLE_RUN
    approval: Mapping[str, Any] | None = None
    failed_tasks: Sequence[str] = field(default_factory=tuple)
    undone_by: Mapping[str, str] = field(default_factory=dict)
    ending: str = "choose_ending"  # the task that decides


def verdict(facts: RunFacts) -> Verdict:
    """What happened, what was left behind, the next command. Green only when promoted, or as a dry run or an export."""
    own = facts.by_place[WHOLE_RUN]
    stops = [stop_line(record) for record in own if record.step == Step.STOPPED]
    if facts.dry_run and not stops and not facts.failed_tasks and (written := last(own, Step.EXPORT)):
        return _exported(written)
    if facts.dry_run and not stops and not facts.failed_tasks and last(own, Step.PLAN):
        message = "dry run: checked and planned, nothing was changed. Next: trigger again with dry_run off."
        return Verdict(Ending.DRY_RUN, green=True, message=message)
    if is_promoted(facts.selected, facts.by_place) and not facts.undone_by:
        done = ", ".join(facts.selected)
        return Verdict(Ending.PROMOTED, green=True, message=f"promoted in {done}: every gate of every stage passed.")
    undone = [r for r in facts.selected if last(attempt(facts.by_place[r]), Step.UNDO)]
    if not undone and not facts.touched and not facts.undone_by:
        return nothing_written(facts, stops)
    if facts.touched and not undone and (unknown := waits_for_people(own)):
        return _unknown(facts, unknown)
    return _undone(facts, undone, stops)


def _exported(written: Record) -> Verdict:
    """Where the files of each place lie; the hash is what an owner's repository is known by in the estate."""
    lines = [f"{Ending.EXPORTED}: checked, planned and written as files, nothing was changed."]
    for place, found in written.figures["places"].items():
        named = f" (sha256 {found['sha256']})" if found["sha256"] else ""
        lines.append(f"{place}: {', '.join(sorted(found['files'])) or 'nothing to write'} in {found['folder']}{named}")
    lines.append("Next: merge them into the repository that owns the objects; see docs/how-to/gitops.md.")
    return Verdict(Ending.EXPORTED, green=True, message="\n".join(lines))


def joint_verdict(outcomes: Mapping[str, Verdict]) -> Verdict:
    """The end of a run of several levers from each one's: green when each was promoted or had nothing to do.

    Its name is that of the first lever that is not green, else whether anything was promoted.
    """
    wrong = next((verdict for verdict in outcomes.values() if not verdict.green), None)
    promoted = any(verdict.name is Ending.PROMOTED for verdict in outcomes.values())
    name = wrong.name if wrong else Ending.PROMOTED if promoted else Ending.NOTHING_TO_DO
    lines = [f"{lever}: {verdict.message}" for lever, verdict in outcomes.items()]
    left = tuple(f"{lever} {line}" for lever, verdict in outcomes.items() for line in verdict.left_behind)
    return Verdict(name, wrong is None, "\n".join(lines), left)


def is_promoted(selected: Sequence[str], by_place: Mapping[str, Records]) -> bool:
    """Whether a run was promoted in all its places, and that stands by its last decision."""
    promoted = all(last(attempt(by_place[place]), Step.PROMOTED) for place in selected)
    return bool(selected) and promoted and _decision_holds(by_place[WHOLE_RUN])


def _decision_holds(own: Records) -> bool:
    """Whether the last decision was to promote and no step of the run as a whole has stopped since.

    What was before is settled by it; one that is taken again after a promotion may be another.
    """
    later = itertools.takewhile(lambda record: record.step != Step.DECISION, reversed(own))
    decision = last(own, Step.DECISION)
    stopped = any(record.step == Step.STOPPED for record in later)
    return not stopped and (decision is None or bool(decision.figures["promote"]))


def _unknown(facts: RunFacts, unknown: Sequence[str]) -> Verdict:
    chain = facts.chain
    tasks = list(facts.failed_tasks) or [facts.ending]  # no task fails when a plan can't be made again
    call = {"dag_run_id": chain.run_id, "task_ids": tasks, "include_downstream": True,
            "only_failed": False, "dry_run": False}  # fmt: skip
    left = tuple(f"{place}: written to, neither promoted nor rolled back" for place in facts.touched)
    lines = [
        f"{Ending.UNKNOWN}: " + "\n".join(unknown),
        "Nothing was promoted. The change is kept, and the lock where it stands.",
        "Left behind:",
        *left,
        f"Next, once the data is there: judge again. Clear {', '.join(tasks)} with everything downstream, "
        f"in the UI or by POST /api/v2/dags/{chain.dag_id}/clearTaskInstances {json.dumps(call)}",
        f"Or undo: {rollback_command(chain.lever, facts.touched)}",
    ]
    return Verdict(Ending.UNKNOWN, green=False, message="\n".join(lines), left_behind=left)


def stop_line(record: Record) -> str:
    """One line for a record of a step that stopped."""
    prefix = "" if record.place == WHOLE_RUN else f"{record.place}: "
    return f"{prefix}{record.figures['where']}: {record.figures['reason']}"


def nothing_written(facts: RunFacts, stops: Sequence[str]) -> Verdict:
    """The verdict of a run that wrote nothing: rejected or refused, and why."""
    approval = facts.approval
    stops = [*stops, *(line for r in facts.selected if (line := failure(facts.by_place[r])))]
    if approval is not None and not approval["approved"]:
        by = f"rejected by {approval['user']}" if approval["user"] else "rejected: nobody answered in time"
        message = f"{by}. Nothing was changed. Next: trigger a new run and have its plan approved."
        return Verdict(Ending.REJECTED, green=False, message=message)
    reason = "\n".join(stops or _decided(facts)) or _without_reason(facts)
    message = f"refused: {reason}\nNothing was changed. Next: remove the reason and trigger a new run."
    return Verdict(Ending.REFUSED, green=False, message=message)


def _without_reason(facts: RunFacts) -> str:
    tasks = ", ".join(facts.failed_tasks) or "none"
    return f"a task ended without a reason on record (failed: {tasks}); read its log"


def _undone(facts: RunFacts, undone: Sequence[str], stops: Sequence[str]) -> Verdict:
    reasons = [line for place in facts.selected if (line := _first_failure(facts.by_place[place]))]
    # Every gate may have passed, and the live world have spoken against a promotion.
    reasons = reasons or _decided(facts) or [f"{place}: undone by another run" for place in facts.undone_by]
    left = left_behind(facts)
    restored = [place for place in undone if place not in facts.touched]
    name = Ending.UNFINISHED if facts.touched else Ending.ROLLED_BACK
    parts = [f"{name}: " + ("\n".join([*reasons, *stops]) or _without_reason(facts))]
    if restored:
        parts.append(f"Restored: {', '.join(restored)}.")
    parts += [f"{place}: undone by {run}." for place, run in facts.undone_by.items()]
    parts += [line for place in undone if (line := others_line(facts.by_place[place]))]
    if left:
        parts += ["Left behind:", *left]
        parts.append(f"Next: {rollback_command(facts.chain.lever, facts.touched)}")
    else:
        parts.append("Left behind: nothing. Next: remove the reason and trigger a new run.")
    return Verdict(name, green=False, message="\n".join(parts), left_behind=tuple(left))


def _decided(facts: RunFacts) -> list[str]:
    """What the run's last decision had against a promotion."""
    decision = last(facts.by_place[WHOLE_RUN], Step.DECISION)
    return [] if decision is None else [*decision.figures["reasons"], *decision.figures.get("unknown", ())]


def _first_failure(records: Records) -> str | None:
    """Why a place was undone: the gate or stop before its rollback started."""
    records = attempt(records)
    before = [n for n, record in enumerate(records) if record.step == Step.UNDO]
    return failure(records[: before[0]] if before else records)


def left_behind(facts: RunFacts) -> list[str]:
    """One line for each place where the run's changes still stand, with what is known of them."""
    lines = []
    for place in facts.touched:
        records = attempt(facts.by_place[place])
        restored = last(records, Step.RESTORED)
        stop = last(records, Step.STOPPED)
        if restored is not None:
            lines.append(f"{place}: not back yet: {'; '.join(restored.figures['remaining'])}")
        elif stop is not None and last(records, Step.UNDO) is not None:
            lines.append(f"{place}: the rollback stopped: {stop.figures['reason']}")
        else:
            lines.append(f"{place}: written to and not rolled back")
    return lines


def others_line(records: Records) -> str | None:
    """What others had changed and an undo left alone, or None."""
    undone = last(attempt(records), Step.UNDONE)
    others = undone.figures["changed_by_others"] if undone else []
    if not others or undone is None:
        return None
    return f"{undone.place}: changed by others since the snapshot and left alone: {'; '.join(others)}"


def rollback_command(lever: str, places: Sequence[str]) -> str:
    """The command that rolls a lever back in places by its own DAG."""
    return trigger_command("rollback", json.dumps({"lever": lever, "regions": list(places), "dry_run": False}))


def trigger_command(dag_id: str, conf: str) -> str:
    """The command that triggers a DAG; ``conf`` is one argument for a shell, whatever people have written into it."""
    return f"airflow dags trigger {dag_id} --conf {shlex.quote(conf)}"
