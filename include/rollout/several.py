"""Several levers in one run: one preflight, one plan, one approval and one set of locks for all of them.

Each lever keeps its own chains in the ledger, with its own plan, answer and approval there: every step of a lever, its
rollback and the page work as if it had run alone. The run as a whole has a chain besides, under the DAG's name. A lever
begins once the one before is promoted, or had nothing to do; the ledger says so, whatever the state of a task.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from include.estate import Estate
from include.rollout import decisions, steps
from include.rollout.decisions import Ending, Verdict
from include.rollout.ledger import WHOLE_RUN, Record, Step, last
from include.rollout.lever import Check, Json, Lever, NameOnly, Plan, Refused
from include.rollout.settings import RolloutSettings
from include.rollout.steps import NotWanted, Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Several:
    """One run of several levers: ``runs`` in their order, ``whole`` is the run itself, on record as the DAG's name."""

    whole: Run
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, run: Run, levers: Sequence[Lever]) -> Several:
        """The run of all ``levers`` that ``run``, of any of them, belongs to."""
        whole: Any = NameOnly(run.dag_id)
        return cls(replace(run, lever=whole), tuple(replace(run, lever=lever) for lever in levers))

    @property
    def settings(self) -> RolloutSettings:
        """The engine's settings, the same for every lever. Raises Refused naming the field that is wrong."""
        return self.runs[0].settings

    @property
    def estate(self) -> Estate:
        """The estate."""
        return self.whole.estate

    @property
    def places(self) -> list[str]:
        """The places of all levers, each once."""
        return list(dict.fromkeys(place for run in self.runs for place in run.places))

    def record(self, place: str, step: str, figures: Mapping[str, Json], **links: str) -> Record:
        """Append a record to a chain of the run as a whole."""
        return self.whole.record(place, step, figures, **links)

    def before(self, run: Run) -> tuple[Run, ...]:
        """The levers that come before this one."""
        return self.runs[: [one.lever.name for one in self.runs].index(run.lever.name)]


# Before the first write ----------------------------------------------------------------------------------------------


def check_preflight(several: Several, own: Sequence[Check] = ()) -> None:
    """Everything of any lever that can be known to be wrong before anything is written. Raises Refused with all.

    ``own`` are checks of the caller.
    """
    checks = {"estate": [*steps.whole_run_checks(several.whole, several.settings.changes), *own]}
    for run in several.runs:
        checks |= {f"{place}: {run.lever.name}": found for place, found in steps.lever_checks(run).items()}
    steps.judge_checks(several.whole, checks)


def make_plan(several: Several) -> dict[str, str]:
    """Plan every lever in its places; put the plans on record. Returns the hash over all and the approver's text."""
    settings = several.settings
    judging, hashes, texts = settings.judging(), {}, {}
    plans = {run.lever.name: steps.each_place(run, run.lever.plan) for run in several.runs}
    for run in several.runs:
        hashes[run.lever.name] = decisions.plans_hash(plans[run.lever.name], judging)
        texts[run.lever.name] = plans[run.lever.name], steps.resumed_by(run)
    joint = decisions.joint_hash(hashes)
    backing, offered = steps.backings(several.whole, hashes), []
    for run in several.runs:
        name, own = run.lever.name, {plan.place: plan.to_json() for plan in plans[run.lever.name]}
        record = steps.record_plan(run, hashes[name], {"joint": joint, "plans": own})
        offered.append(decisions.Offered(backing[name], *texts[name], record.address))
    # Last: what is offered for approval is whole.
    several.record(WHOLE_RUN, Step.PLAN, {"hash": joint, "dry_run": settings.dry_run, "levers": hashes})
    log.info("plan %s\n%s", joint, decisions.joint_text(texts, settings.reason, judging))
    links = steps.links_of(several.whole)
    return {"hash": joint, "text": decisions.approval_text(joint, offered, settings.reason, judging, links)}


def write_export(several: Several) -> dict[str, Any]:
    """Write every lever's plan as files; see :func:`include.rollout.steps.write_export`."""
    found = {run.lever.name: steps.write_export(run) for run in several.runs}
    places = {f"{lever} {place}": of_place for lever, places in found.items() for place, of_place in places.items()}
    several.record(WHOLE_RUN, Step.EXPORT, {"places": places})
    return found


def record_answer(several: Several, answer: Mapping[str, Any]) -> None:
    """Put on record who answered what to which plan; with each lever for the plan of its own that was part of it."""
    several.record(WHOLE_RUN, Step.ANSWER, answer)
    for run in several.runs:
        offered = [r.figures for r in run.records(WHOLE_RUN) if r.step == Step.PLAN]
        own = next((plan["hash"] for plan in reversed(offered) if plan["joint"] == answer["hash"]), answer["hash"])
        steps.record_answer(run, {**answer, "hash": own})


def lock_places(several: Several) -> None:
    """Take the locks of the places of all levers, or of none.

    Raises Refused unless the answer on record approves the plans on record, all of them.
    """
    everyone = (several.whole, *several.runs)
    answers = [steps.answer_on_record(run) for run in everyone]
    for run, answer in zip(everyone, answers, strict=True):
        steps.check_approval(run, answer)
    for run in several.runs:
        steps.check_not_undone(run, run.places)
    stands = [place for run in several.runs for place in run.ledger.touched(run.chain(), run.places)]
    previous = steps.acquire(several.whole, several.places, stands)
    steps.record_approval(several.whole, answers[0], previous)
    for run, answer in zip(several.runs, answers[1:], strict=True):
        steps.record_approval(run, answer, {place: previous[place] for place in run.places})


def confirm_unchanged(several: Several) -> None:
    """Plan every lever again under the locks. Raises Refused with what is not as it was approved, of any of them."""
    problems = []
    for run in several.runs:
        try:
            steps.plan_again(run)
        except Refused as error:
            problems.append(f"{run.lever.name}: {error}")
    if problems:
        raise Refused("\n".join(problems))


# A lever's turn ------------------------------------------------------------------------------------------------------


def begin(several: Several, run: Run) -> None:
    """Begin a lever: its plan, made again, must still be the one that was approved.

    Raises NotWanted when it has nothing to do, or when one before it is neither promoted nor had nothing to do.
    """
    if nothing_to_do(run):
        raise NotWanted(f"{run.lever.name} has nothing to do")
    for other in several.before(run):
        if not is_done(other):
            raise NotWanted(f"{other.lever.name} is not promoted: {run.lever.name} does not begin")
    _lock_again(several, run)
    steps.confirm_unchanged(run)


def _lock_again(several: Several, run: Run) -> None:
    """Take the locks that the run gave up, or kept beyond its end, while a lever before this one waited for people."""
    decided = [r for other in several.before(run) for r in other.records(WHOLE_RUN) if r.step == Step.DECISION]
    if any(record.figures.get("unknown") for record in decided):
        steps.acquire(run, run.places, run.places)


def nothing_to_do(run: Run) -> bool:
    """Whether the plan of a lever that was approved has no stage, wherever it acts."""
    return not any(plan.stages for plan in _approved(run))


def _approved(run: Run) -> list[Plan]:
    return steps.approved_plans(run)


def is_done(run: Run) -> bool:
    """Whether the next lever may begin: this one is promoted and nobody has undone it, or it had nothing to do."""
    if nothing_to_do(run) and not _has_written(run):
        return True
    # One that has written may have nothing left to do because its undo is unfinished: a new plan doesn't make it done.
    records = {place: run.records(place) for place in (WHOLE_RUN, *run.places)}
    return decisions.is_promoted(run.places, records) and not any(steps.undone_by(run, place) for place in run.places)


def _has_written(run: Run) -> bool:
    return any(last(run.records(place), Step.TOUCH) for place in run.places)


def has_begun(run: Run) -> bool:
    """Whether the plan of a lever was confirmed in one of its places, or why not is on record."""
    stopped = last(run.records(WHOLE_RUN), Step.STOPPED) is not None
    return stopped or any(last(run.records(place), Step.PLAN) for place in run.places)


# The end -------------------------------------------------------------------------------------------------------------


def release_locks(several: Several) -> None:
    """Give up the locks of the run; those where the change of a lever stands that waits for people are kept."""
    kept = {place for run in several.runs for place in steps.places_kept(run)}
    for place in kept:
        several.whole.lock(place).keep()
    steps.unlock_places(several.whole, [place for place in several.places if place not in kept])


def conclude(several: Several, failed_tasks: Sequence[str]) -> Verdict:
    """How every lever ended, each on record in its own chain; the run's own verdict joins them.

    Tasks of a lever are those whose ids begin with its name and a full stop.
    """
    answer = steps.answer_on_record(several.whole)
    if not any(has_begun(run) for run in several.runs) and not _all_idle(several):
        verdict = _before_the_first(several, answer, failed_tasks)
        for run in several.runs:
            steps.record_verdict(run, verdict, [])
    else:
        verdict = decisions.joint_verdict(
            {run.lever.name: _outcome(several, run, failed_tasks) for run in several.runs}
        )
        verdict = _with_own_tasks(several, verdict, failed_tasks)
    steps.record_verdict(several.whole, verdict, [run.chain() for run in several.runs])
    return verdict


def _with_own_tasks(several: Several, verdict: Verdict, failed_tasks: Sequence[str]) -> Verdict:
    """Not green while a task of the run itself has failed, such as one that left a lock behind."""
    groups = tuple(f"{run.lever.name}." for run in several.runs)
    own = [task for task in failed_tasks if not task.startswith(groups)]
    if not (verdict.green and own):
        return verdict
    stops = [r for r in several.whole.records(WHOLE_RUN) if r.step == Step.STOPPED and r.figures["where"] in own]
    why = "\n".join([decisions.stop_line(stop) for stop in stops] or [f"read the log of {', '.join(own)}"])
    message = f"{verdict.message}\n{Ending.UNFINISHED}: {why}\nNext: clear {', '.join(own)} with everything downstream."
    return Verdict(Ending.UNFINISHED, green=False, message=message)


def _all_idle(several: Several) -> bool:
    """Whether the run was approved and locked, and no lever had anything to do."""
    own = several.whole.records(WHOLE_RUN)
    approved = last(own, Step.APPROVAL) is not None and last(own, Step.STOPPED) is None
    return approved and all(nothing_to_do(run) for run in several.runs)


def _before_the_first(several: Several, answer: Mapping[str, Any] | None, failed: Sequence[str]) -> Verdict:
    """A dry run, a rejection or a refusal, from the run's own chain."""
    whole, dry_run = several.whole, not several.settings.changes
    by_place = {WHOLE_RUN: whole.records(WHOLE_RUN)}
    return decisions.verdict(decisions.RunFacts(whole.chain(), dry_run, (), (), by_place, answer, failed))


def _outcome(several: Several, run: Run, failed_tasks: Sequence[str]) -> Verdict:
    """One lever's end, put on record."""
    group = f"{run.lever.name}."
    own = [task for task in failed_tasks if task.startswith(group)]
    if has_begun(run):
        return steps.conclude(run, steps.answer_on_record(run), own, f"{group}choose_ending")
    verdict = _unbegun(several, run, own)
    steps.record_verdict(run, verdict, [])
    return verdict


def _unbegun(several: Several, run: Run, failed: Sequence[str]) -> Verdict:
    if nothing_to_do(run):
        # The first note says why; the others are for whoever reads the plan.
        notes = dict.fromkeys(note for plan in _approved(run) for note in plan.notes[:1])
        why = "; ".join(notes) or "everything is as it should be"
        return Verdict(Ending.NOTHING_TO_DO, green=True, message=f"{Ending.NOTHING_TO_DO}: {why}")
    waits_for = next((other.lever.name for other in several.before(run) if not is_done(other)), None)
    why = f"{waits_for} was not promoted" if waits_for else f"read the log of {', '.join(failed) or 'its tasks'}"
    return Verdict(Ending.NOT_STARTED, green=False, message=f"{Ending.NOT_STARTED}: {why}")
