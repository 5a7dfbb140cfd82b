"""The rollout engine end to end: a toy lever, real DAGs, dag.test(), approvals answered by a thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import Estate, load_estate
from include.rollout.ledger import Chain, Ledger, Record
from tests.dags.toy import World, WorldLeases, clients_of

US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"  # AP is the canary
QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False, "size": 2}
START = {US: 1, EU: 1, AP: 1}
Runner = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    path = tmp_path / "world.json"
    regions = {region: {"size": 1} for region in (US, EU, AP)}
    path.write_text(json.dumps({"regions": regions, "faults": {}, "leases": {}, "events": []}))
    return World(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder(tmp_path / "ledger"))


def estate_of(*regions: str, **windows: int) -> Estate:
    """The estate with fewer regions and other windows: fewer tasks to run."""
    estate = load_estate()
    raw = estate.model_dump(mode="json")
    raw["regions"] = {name: region for name, region in raw["regions"].items() if name in regions}
    raw["windows"] |= windows
    return Estate.model_validate(raw)


def rollout_dag(world: World, estate: Estate | None = None, clients: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    with DAG("toy_rollout", schedule=None, **rollout_arguments("toy", __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollout("toy", clients or clients_of(world), estate)
    return dag


def when_task_begins(world: World, task: str, action: Callable[[], Any]) -> Any:
    """Clients of the world; ``action`` happens once, as soon as a task whose id begins so reaches for them."""
    make, left = clients_of(world), [action]

    def clients(region: str, estate: Estate) -> Any:
        from airflow.sdk import get_current_context

        if left and get_current_context()["ti"].task_id.startswith(task):
            left.pop()()
        return make(region, estate)

    return clients


def rollback_dag(world: World, estate: Estate | None = None, clients: Any = None) -> Any:
    from airflow.sdk import DAG

    from include.wiring.dag import rollback_arguments
    from include.wiring.rollback import roll_back

    with DAG("rollback", schedule=None, **rollback_arguments(__doc__, estate)) as dag:
        roll_back(clients or clients_of(world), estate)
    return dag


def set_fault(world: World, name: str, value: Any = True) -> None:
    world.change(lambda w: w["faults"].update({name: value}))


def records(ledger: Ledger, run: Any, region: str, dag_id: str = "toy_rollout") -> list[Record]:
    return ledger.records(Chain("toy", region, dag_id, run.run_id))


def steps(ledger: Ledger, run: Any, region: str, dag_id: str = "toy_rollout") -> list[str]:
    return [record.step for record in records(ledger, run, region, dag_id)]


def holders(world: World) -> dict[str, str | None]:
    return {region: lease["spec"].get("holderIdentity") for region, lease in world.read()["leases"].items()}


def test_every_region_is_promoted_after_the_canary(world: World, ledger: Ledger, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world), QUICK | {"reason": "cheaper"})
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    assert run.verdict["message"] == f"promoted in {AP}, {US}, {EU}: every gate of every stage passed."
    assert world.sizes() == {US: 2, EU: 2, AP: 2}
    assert world.events[0] == f"apply {AP} step_1"
    assert sorted(world.events[1:]) == [f"apply {EU} step_1", f"apply {US} step_1"]
    assert holders(world) == {AP: None, EU: None, US: None}
    assert steps(ledger, run, AP) == ["plan", "snapshot", "touch", "applied", "gate", "promoted"]
    assert steps(ledger, run, "estate") == ["preflight", "plan", "answer", "approval", "decision", "verdict"]
    plan, answer, approval = records(ledger, run, "estate")[1:4]
    assert answer.figures == {
        "approved": True, "user": "platform-lead", "user_id": "platform-lead", "hash": plan.figures["hash"],
    }  # fmt: skip
    assert approval.figures == {
        "approved_by": "platform-lead", "locked": [AP, EU, US], "taken_over_from": {}, "hash": plan.figures["hash"],
    }  # fmt: skip
    verdict = records(ledger, run, "estate")[-1]
    heads = {f"head toy {region}": ledger.head(Chain("toy", region, "toy_rollout", run.run_id)) for region in START}
    assert {name: link for name, link in verdict.links.items() if name != "log"} == heads
    snapshot = ledger.snapshot(Chain("toy", US, "toy_rollout", run.run_id))
    assert snapshot is not None
    assert snapshot.figures == {
        "before": {"size": 1},
        "estate": load_estate().slice(US).model_dump(mode="json"),
        "order": 1,
        "settings": {"size": 2, "converge_timeout_seconds": 1800},
        "snapshot": {"size": 1},
    }


def test_a_dry_run_plans_and_writes_nothing(world: World, ledger: Ledger, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), {"size": 2, "regions": [AP]})
    assert (run.state, run.verdict["verdict"]) == ("success", "dry run")
    assert world.sizes() == START
    assert world.events == []
    assert world.read()["leases"] == {}
    assert run.tasks["await_approval"] == "skipped"
    assert steps(ledger, run, "estate") == ["preflight", "plan", "verdict"]


def test_a_rejected_plan_fails_the_run_and_writes_nothing(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject")
    assert (run.state, run.verdict["verdict"]) == ("failed", "rejected")
    assert run.verdict["message"] == (
        "rejected by platform-lead. Nothing was changed. Next: trigger a new run and have its plan approved."
    )
    assert world.events == []
    assert world.read()["leases"] == {}


def test_an_approval_that_nobody_answers_is_a_rejection(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP, approval_timeout_seconds=1)), QUICK, answer=None)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rejected")
    assert run.verdict["message"].startswith("rejected: nobody answered in time. Nothing was changed.")
    assert world.events == []


def test_only_an_approver_may_answer(world: World, run_dag: Runner) -> None:
    from tests.dags import conftest

    refused = []

    def try_as_somebody() -> None:
        for run_id, task_id in conftest.waiting("toy_rollout"):
            with pytest.raises(Exception, match="not a respondent") as caught:
                conftest.respond("toy_rollout", run_id, task_id, "Approve", "somebody")
            refused.append(caught.value.status_code)

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject", before_answer=try_as_somebody)
    assert set(refused) == {403}
    assert run.verdict["verdict"] == "rejected"


def test_an_approval_that_was_marked_by_hand_lets_nothing_be_written(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, marked="await_approval")
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert run.verdict["message"] == (
        "refused: take_locks: no approver's answer is on record: a task that was marked by hand approves nothing; "
        "clear await_approval and have the plan approved. Nothing is written without an approval of the plan\n"
        "Nothing was changed. Next: remove the reason and trigger a new run."
    )
    assert (world.events, world.read()["leases"]) == ([], {})


def test_a_parameter_named_emergency_approves_nothing(world: World, run_dag: Runner) -> None:
    conf = QUICK | {"emergency": True, "reason": "errors"}
    run = run_dag(rollout_dag(world, estate_of(AP)), conf, marked="await_approval")
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert (world.events, world.read()["leases"]) == ([], {})


def test_an_approval_is_bound_to_the_plan_that_was_shown(world: World, ledger: Ledger, run_dag: Runner) -> None:
    """make_plan was cleared alone while somebody read its plan: the answer is for the plan that was shown."""
    from tests.dags import conftest

    def plan_again() -> None:
        for run_id, _ in conftest.waiting("toy_rollout"):
            ledger.append(Chain("toy", "estate", "toy_rollout", run_id), "plan", {"hash": "another plan", "plans": {}})

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, before_answer=plan_again)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    shown = records(ledger, run, "estate")[1].figures["hash"]
    assert f"platform-lead approved plan {shown}, but the plan on record is another plan" in run.verdict["message"]
    assert (world.events, world.read()["leases"]) == ([], {})


def test_all_failed_checks_are_shown_at_once(world: World, run_dag: Runner) -> None:
    set_fault(world, "preflight", [AP, US])
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert run.verdict["message"] == (
        "refused: check_preflight: preflight refused, 2 check(s) failed and nothing was changed:\n"
        f"{AP}: toy: the region is broken -> mend the region\n"
        f"{US}: toy: the region is broken -> mend the region\n"
        "Nothing was changed. Next: remove the reason and trigger a new run."
    )


def test_several_regions_need_the_canary(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world), QUICK | {"regions": [US, EU]})
    assert run.state == "failed"
    assert run.tasks["make_plan"] == "upstream_failed"
    assert world.events == []


def test_a_gate_that_fails_in_the_canary_stops_there(world: World, ledger: Ledger, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert run.verdict["message"] == (
        f"rolled back: {AP}: gate of size 2 is fail: health: 0.5 ratio is not >= 0.99 ratio (toy; 100 samples)\n"
        f"Restored: {AP}.\nLeft behind: nothing. Next: remove the reason and trigger a new run."
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, run, AP)[-4:] == ["gate", "undo", "undone", "restored"]
    assert records(ledger, run, AP)[-1].figures["complete"] is True


def test_a_gate_that_fails_later_undoes_every_touched_region(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{US} step_1"])
    run = run_dag(rollout_dag(world), QUICK | {"regions": [AP, US]})
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert world.events == [f"apply {AP} step_1", f"apply {US} step_1", f"rollback {US}", f"rollback {AP}"]
    assert world.sizes() == START
    assert run.ran("undo_changes") == ["rollback.ap_northeast_1.undo_changes", "rollback.us_east_1.undo_changes"]
    assert run.tasks["rollback.eu_central_1.undo_changes"] == "skipped"
    assert run.tasks["eu_central_1.take_snapshot"] == "skipped"


def test_a_gate_that_stays_unknown_is_judged_again_and_promoted(world: World, ledger: Ledger, run_dag: Runner) -> None:
    from tests.dags import conftest

    set_fault(world, "no data", [f"{AP} step_1"])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unknown")
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
    assert world.events == [f"apply {AP} step_1"]
    holder = f"toy_rollout/{run.run_id}"
    assert holders(world) == {AP: holder, US: None}  # nothing was written to US yet
    lines = run.verdict["message"].splitlines()
    assert lines[:4] == [
        f"unknown: {AP}: gate of size 2 is unknown: health: no data",
        "Nothing was promoted. The change is kept, and the lock where it stands.",
        "Left behind:",
        f"{AP}: written to, neither promoted nor rolled back",
    ]
    rollback = json.dumps({"lever": "toy", "regions": [AP], "dry_run": False})
    assert lines[5:] == [f"Or undo: airflow dags trigger rollback --conf '{rollback}'"]
    judge_again, _, body = lines[4].partition(" in the UI or by POST /api/v2/dags/toy_rollout/clearTaskInstances ")
    assert judge_again == (
        "Next, once the data is there: judge again. Clear ap_northeast_1.step_1.judge_gates with everything downstream,"
    )

    # The verdict's own call judges again; what comes after a gate that passes now follows as in any run.
    world.change(lambda w: w["faults"].clear())
    cleared = conftest.clear("toy_rollout", json.loads(body))
    assert {"ap_northeast_1.step_1.judge_gates", "us_east_1.take_snapshot", "choose_ending", "verdict"} <= {*cleared}
    assert "ap_northeast_1.step_1.apply_stage" not in cleared
    again = run_dag(rollout_dag(world, estate), {}, goes_on=run.run_id)
    assert (again.run_id, again.state, again.verdict["verdict"]) == (run.run_id, "success", "promoted")
    assert world.events == [f"apply {AP} step_1", f"apply {US} step_1"]
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, run, AP) == ["plan", "snapshot", "touch", "applied", "gate", "gate", "promoted"]


def test_a_gate_that_stays_unknown_is_undone_by_the_verdicts_command(world: World, run_dag: Runner) -> None:
    set_fault(world, "no data", [f"{AP} step_1"])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert run.verdict["verdict"] == "unknown"
    conf = run.verdict["message"].partition("airflow dags trigger rollback --conf '")[2].removesuffix("'")
    undone = run_dag(rollback_dag(world, estate), json.loads(conf))
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}


def test_a_gate_that_was_marked_by_hand_is_no_gate_that_passed(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"size": 3}, marked=r".*\.step_1\.judge_gates")
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert (
        f"{AP}: size 2 has not passed its gates: a task that was marked by hand passes none" in run.verdict["message"]
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START


def test_an_emergency_rollback_stops_the_rollout_that_soaks(world: World, ledger: Ledger, run_dag: Runner) -> None:
    """It undoes the canary and is gone again, its locks are free: the rollout must neither judge nor go on."""
    from include.rollout import steps as engine
    from tests.dags.toy import Toy

    estate, make = estate_of(AP, US), clients_of(world)

    def undo() -> None:
        (chain,) = ledger.chains("toy", AP)
        snapshot = ledger.snapshot(chain)
        assert snapshot is not None
        emergency = engine.Run(Toy(), estate, {}, "rollback", "undo", ledger, lambda r: make(r, estate), lambda _: None)
        for region in (AP, US):
            emergency.lock(region).take_over()
        engine.undo_changes(emergency, AP, snapshot)
        engine.verify_restored(emergency, AP, snapshot)
        engine.unlock_places(emergency, [AP, US])

    clients = when_task_begins(world, "ap_northeast_1.step_1.judge_gates", undo)
    run = run_dag(rollout_dag(world, estate, clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert run.verdict["message"] == (
        f"rolled back: {AP}: ap_northeast_1.step_1.judge_gates: {AP}: the lock was released; this run writes nothing "
        f"more there: rollback/undo has undone its change\n{AP}: undone by rollback/undo.\n"
        "Left behind: nothing. Next: remove the reason and trigger a new run."
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START
    assert run.tasks["us_east_1.take_snapshot"] == "upstream_failed"


def test_a_region_that_changed_while_the_canary_soaked_is_not_written_to(world: World, run_dag: Runner) -> None:
    def grow() -> None:
        world.change(lambda w: w["regions"][US].update(size=7))

    clients = when_task_begins(world, "us_east_1.take_snapshot", grow)
    run = run_dag(rollout_dag(world, estate_of(AP, US), clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert f"nothing was changed in {US}; trigger a new run" in run.verdict["message"]
    assert f"{US} live.size: 1 -> 7" in run.verdict["message"]
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == {US: 7, EU: 1, AP: 1}


def test_a_plan_that_is_not_fulfilled_is_not_promoted(world: World, run_dag: Runner) -> None:
    """Every gate passed, but somebody has set the change back in the meantime."""

    def shrink() -> None:
        world.change(lambda w: w["regions"][AP].update(size=1))

    clients = when_task_begins(world, "choose_ending", shrink)
    run = run_dag(rollout_dag(world, estate_of(AP), clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    reason = f"rolled back: {AP}: every gate passed, but the plan is not fulfilled: toy size: 1 -> 2"
    assert run.verdict["message"].splitlines()[0] == reason
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]


def test_a_step_that_runs_into_its_tasks_limit_leaves_its_reason(
    world: World, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as dt

    from airflow.sdk.exceptions import AirflowTaskTimeout

    from tests.dags.toy import Toy

    def hang(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    monkeypatch.setattr(Toy, "apply", hang)
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"converge_timeout_seconds": 900})
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    limit = dt.timedelta(seconds=4 * 900 + 600)  # as the run's own setting says
    reason = f"rolled back: {AP}: ap_northeast_1.step_1.apply_stage: not done within {limit}, the limit of its task"
    assert run.verdict["message"].startswith(reason)


def test_a_gate_waits_for_data_that_is_away_for_a_moment(world: World, run_dag: Runner) -> None:
    set_fault(world, f"away once {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"gate_wait_seconds": 60})
    assert run.verdict["verdict"] == "promoted"


def test_a_second_stage_follows_the_first_ones_gate(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"size": 3})
    assert run.verdict["verdict"] == "promoted"
    assert world.events == [f"apply {AP} step_1", f"apply {AP} step_2"]
    assert world.sizes()[AP] == 3


def test_a_plan_that_changed_after_the_approval_is_refused(world: World, run_dag: Runner) -> None:
    def interfere() -> None:
        world.change(lambda w: w["regions"][AP].update(size=7))

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, before_answer=interfere)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert f"{AP} live.size: 1 -> 7" in run.verdict["message"]
    assert world.events == []
    assert holders(world) == {AP: None}


def test_a_lock_that_another_run_holds_is_refused_with_its_name(world: World, run_dag: Runner) -> None:
    held = {"metadata": {"name": "akidb-rollout"}, "spec": {"holderIdentity": "day3_edge/manual__1"}}
    WorldLeases(world, US).create(held)
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert f"{US}: day3_edge/manual__1 holds the lock" in run.verdict["message"]
    assert holders(world) == {AP: None, US: "day3_edge/manual__1"}
    assert world.events == []


def test_an_apply_that_crashes_is_tried_again(world: World, run_dag: Runner) -> None:
    set_fault(world, f"crash {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert run.verdict["verdict"] == "promoted"
    assert world.events == [f"apply {AP} step_1", f"apply {AP} step_1"]


def test_an_apply_that_does_not_converge_is_rolled_back_at_once(world: World, run_dag: Runner) -> None:
    set_fault(world, f"stuck {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert "size 2 of 3 after 30 s" in run.verdict["message"]
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]


def test_a_rollback_that_fails_in_one_region_does_not_keep_the_others(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{US} step_1"])
    set_fault(world, "rollback refused", [US])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert world.sizes() == {US: 2, EU: 1, AP: 1}
    assert run.verdict["left_behind"] == [f"{US}: not back yet: toy size: 2 -> 1"]
    command = "airflow dags trigger rollback --conf '" + json.dumps({"lever": "toy", "regions": [US], "dry_run": False})
    assert command in run.verdict["message"]
    assert holders(world) == {AP: None, US: None}

    # The command of the verdict finishes it, and the next rollout starts from a clean slate.
    world.change(lambda w: w["faults"].clear())
    undone = run_dag(rollback_dag(world, estate), {"lever": "toy", "regions": [US], "dry_run": False})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START


def test_a_new_run_resumes_an_unfinished_one_from_its_snapshot(world: World, ledger: Ledger, run_dag: Runner) -> None:
    estate = estate_of(AP)
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    set_fault(world, "rollback refused", [AP])
    first = run_dag(rollout_dag(world, estate), QUICK)
    assert (first.verdict["verdict"], world.sizes()[AP]) == ("unfinished", 2)

    # The second run starts at size 2, fails as well, and goes back to the origin.
    world.change(lambda w: w["faults"].clear())
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    second = run_dag(rollout_dag(world, estate), QUICK | {"size": 3})
    assert second.verdict["verdict"] == "rolled back"
    assert world.sizes()[AP] == 1
    snapshot = ledger.snapshot(Chain("toy", AP, "toy_rollout", second.run_id))
    assert snapshot is not None
    assert snapshot.links["origin"] == Chain("toy", AP, "toy_rollout", first.run_id).path
    assert ledger.standing("toy", AP) == []


def test_the_rollback_dag_restores_a_promoted_run(world: World, ledger: Ledger, run_dag: Runner) -> None:
    estate = estate_of(AP, US)
    rolled_out = run_dag(rollout_dag(world, estate), QUICK)
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    dry = run_dag(rollback_dag(world, estate), {"lever": "toy"})
    assert (dry.state, dry.verdict["verdict"]) == ("success", "dry run")
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    rejected = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False}, answer="Reject")
    assert (rejected.state, rejected.verdict["verdict"]) == ("failed", "rejected")
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    undone = run_dag(rollback_dag(world, estate), {"lever": "toy", "run": rolled_out.run_id, "dry_run": False})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, undone, AP, "rollback") == ["undo", "undone", "restored"]

    again = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False})
    assert (again.state, again.verdict["verdict"]) == ("success", "nothing to undo")


def test_an_emergency_needs_a_reason_and_no_approval(world: World, run_dag: Runner) -> None:
    estate = estate_of(AP)
    run_dag(rollout_dag(world, estate), QUICK)

    refused = run_dag(rollback_dag(world, estate), {"emergency": True, "dry_run": False}, answer="Reject")
    assert (refused.state, refused.verdict["verdict"]) == ("failed", "refused")
    assert "an emergency rollback skips the approval and needs one" in refused.verdict["message"]
    assert world.sizes()[AP] == 2

    # A rollout that still holds the lock loses it.
    world.change(lambda w: w["leases"][AP]["spec"].update(holderIdentity="toy_rollout/running"))
    conf = {"emergency": True, "reason": "errors", "dry_run": False}
    undone = run_dag(rollback_dag(world, estate), conf, answer="Reject")
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert undone.tasks["await_approval"] == "skipped"
    assert world.sizes() == START


def test_a_rollback_that_fails_in_one_region_names_what_is_left(world: World, run_dag: Runner) -> None:
    estate = estate_of(AP, US)
    run_dag(rollout_dag(world, estate), QUICK)
    set_fault(world, "rollback refused", [AP])
    run = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False})
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert run.verdict["left_behind"] == [f"{AP} toy: not back yet: toy size: 2 -> 1"]
    assert world.sizes() == {US: 1, EU: 1, AP: 2}


def test_an_invalid_estate_gives_a_dag_that_shows_what_is_wrong(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dag: Runner
) -> None:
    broken = tmp_path / "estate.yaml"
    broken.write_text("name: akidb\nregoins: {}\n")
    monkeypatch.setenv("AKIDB_ESTATE", str(broken))
    dag = rollout_dag(world)
    assert dag.task_ids == ["read_estate"]
    assert run_dag(dag, {}).state == "failed"


def test_structure_is_exactly_this(world: World) -> None:
    dag = rollout_dag(world, estate_of(AP, US))
    ap, us, back = "ap_northeast_1", "us_east_1", "rollback"
    inner = {
        f"{region}.{name}": {f"{region}.{after}" for after in followers}
        for region in (ap, us)
        for name, followers in {
            "take_snapshot": ["step_1.apply_stage", "step_2.apply_stage"],
            "step_1.apply_stage": ["step_1.await_soak"],
            "step_1.await_soak": ["step_1.judge_gates"],
            "step_1.judge_gates": ["step_2.apply_stage"],
            "step_2.apply_stage": ["step_2.await_soak"],
            "step_2.await_soak": ["step_2.judge_gates"],
        }.items()
    }
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == inner | {
        "check_preflight": {"make_plan"},
        "make_plan": {"is_real_run"},
        "is_real_run": {"await_approval"},
        "await_approval": {"take_locks"},
        "take_locks": {"confirm_unchanged", "release_locks"},
        "confirm_unchanged": {f"{ap}.take_snapshot", f"{us}.take_snapshot"},
        f"{ap}.step_2.judge_gates": {f"{us}.take_snapshot", "choose_ending"},
        f"{us}.step_2.judge_gates": {"choose_ending"},
        "choose_ending": {"promote", f"{back}.{ap}.undo_changes", f"{back}.{us}.undo_changes"},
        "promote": {"release_locks"},
        f"{back}.{us}.undo_changes": {f"{back}.{us}.verify_restored"},
        f"{back}.{us}.verify_restored": {f"{back}.{ap}.undo_changes", "release_locks"},
        f"{back}.{ap}.undo_changes": {f"{back}.{ap}.verify_restored"},
        f"{back}.{ap}.verify_restored": {"release_locks"},
        "release_locks": {"verdict"},
        "verdict": set(),
    }
    assert dag.get_task("verdict").trigger_rule == "all_done"
    assert dag.get_task("release_locks").is_teardown
    assert dag.max_active_runs == 1
    assert dag.schedule is None


@pytest.mark.parametrize("writer", ["apply_stage", "undo_changes"])
def test_no_write_without_approval_lock_and_snapshot(world: World, writer: str) -> None:
    dag = rollout_dag(world)
    writers = [task for task in dag.tasks if task.task_id.endswith(writer)]
    assert len(writers) == {"apply_stage": 6, "undo_changes": 3}[writer]
    for task in writers:
        region = task.task_id.removeprefix("rollback.").split(".")[0]
        upstream = task.get_flat_relative_ids(upstream=True)
        safety = {"check_preflight", "make_plan", "await_approval", "take_locks", "confirm_unchanged"}
        assert safety | {f"{region}.take_snapshot"} <= upstream, task.task_id


def test_steps_that_undo_are_retried_for_a_quarter_of_an_hour(world: World) -> None:
    # The rollback's two are mapped over its regions.
    for dag, count in ((rollout_dag(world), 6), (rollback_dag(world), 2)):
        undoing = [task for task in dag.tasks if task.task_id.endswith(("undo_changes", "verify_restored"))]
        assert len(undoing) == count
        for task in undoing:
            # Airflow waits at least this long before each retry, and up to twice as long.
            pauses = [task.retry_delay * task.retry_exponential_backoff**n for n in range(task.retries)]
            least = sum(min(pause, task.max_retry_delay).total_seconds() for pause in pauses)
            assert least >= 15 * 60, task.task_id


def test_a_reason_left_empty_in_the_form_is_no_reason(world: World, run_dag: Runner) -> None:
    dag = rollout_dag(world)
    assert dag.params.get_param("reason").schema["type"] == ["string", "null"]
    run = run_dag(dag, {"regions": [AP], "reason": None})
    assert run.state == "success"
    assert run.verdict["verdict"] == "dry run"


def test_params_have_bounds_descriptions_and_safe_defaults(world: World) -> None:
    params = rollout_dag(world).params
    assert {name: params[name] for name in params} == {
        "regions": [AP, US, EU],
        "dry_run": True,
        "reason": "",
        "soak_seconds": 1800,
        "gate_window_seconds": 1800,
        "gate_wait_seconds": 300,
        "minimum_coverage": 0.9,
        "size": 3,
        "converge_timeout_seconds": 1800,
    }
    for name in params:
        param = params.get_param(name)
        assert param.description, name
        assert param.schema["type"], name
    assert params.get_param("size").schema["maximum"] == 9
    assert params.get_param("regions").schema["items"]["enum"] == [AP, US, EU]
    rollback = rollback_dag(world).params
    assert rollback["dry_run"] is True
    assert rollback.get_param("lever").schema["enum"] == ["everything", *levers.LEVERS]
