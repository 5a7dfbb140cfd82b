"""Several levers in one run end to end: each begins when the one before is promoted, and each can be undone alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from include import levers
from include.forms import FormError
from include.rollout.ledger import Chain, Ledger
from include.rollout.place import ESTATE_WIDE
from tests.dags import several_levers
from tests.dags.several_levers import (
    DAG_ID,
    LEVERS,
    QUICK,
    make_worlds,
    records,
    set_fault,
    set_size,
    several_dag,
    sizes,
    steps,
    world_of,
)
from tests.dags.toy import ToySettings, World
from tests.dags.toy_dags import AP, estate_of, holders, rollback_dag, when_task_begins

Runner = Callable[..., Any]
PROMOTED = "promoted in {}: every gate of every stage passed."
ALL_PROMOTED = (
    f"alpha: {PROMOTED.format(ESTATE_WIDE)}\nbeta: {PROMOTED.format(ESTATE_WIDE)}\ngamma: {PROMOTED.format(AP)}"
)
FREE = {AP: None, ESTATE_WIDE: None}
OF_THE_RUN = ["plan", "answer", "approval", "decision", "verdict"]


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    for name in LEVERS:
        monkeypatch.setitem(levers.LEVERS, name, f"tests.dags.several_levers:{name.title()}")
    return make_worlds(tmp_path)


def test_all_are_promoted_in_their_order_behind_one_approval(locks: World, ledger: Ledger, run_dag: Runner) -> None:
    run = run_dag(several_dag(locks), QUICK | {"reason": "cheaper"})
    assert (run.state, run.verdict["verdict"], run.verdict["message"]) == ("success", "promoted", ALL_PROMOTED)
    assert sizes(locks) == {"alpha": [2], "beta": [2], "gamma": [2]}
    assert holders(locks) == FREE
    assert steps(ledger, run, DAG_ID) == ["preflight", "plan", "answer", "approval", "verdict"]
    assert {lever: steps(ledger, run, lever) for lever in LEVERS} == dict.fromkeys(LEVERS, OF_THE_RUN)
    assert steps(ledger, run, "beta", ESTATE_WIDE) == ["plan", "snapshot", "touch", "applied", "gate", "promoted"]
    ended = [records(ledger, run, lever, place)[-1].time for lever, place in _places()]
    began = [records(ledger, run, lever, place)[0].time for lever, place in _places()]
    assert ended[0] < began[1] < ended[1] < began[2]


def _places() -> list[tuple[str, str]]:
    return [("alpha", ESTATE_WIDE), ("beta", ESTATE_WIDE), ("gamma", AP)]


def test_one_hash_covers_all_plans_and_each_chain_has_the_answer_to_its_own(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    run = run_dag(several_dag(locks), QUICK)
    plan, answer, approval = records(ledger, run, DAG_ID)[1:4]
    own = {lever: records(ledger, run, lever)[0].figures["hash"] for lever in LEVERS}
    assert plan.figures["levers"] == own
    assert len({plan.figures["hash"], *own.values()}) == 4
    assert (answer.figures["hash"], approval.figures["hash"]) == (plan.figures["hash"],) * 2
    assert approval.figures["locked"] == [AP, ESTATE_WIDE]
    for lever, own_hash in own.items():
        its_plan, its_answer, its_approval = records(ledger, run, lever)[:3]
        assert its_plan.figures["joint"] == plan.figures["hash"]
        assert its_answer.figures == answer.figures | {"hash": own_hash}
        assert its_approval.figures["hash"] == own_hash
        assert its_approval.figures["locked"] == ([AP] if lever == "gamma" else [ESTATE_WIDE])


def test_one_that_fails_its_gate_is_undone_the_one_before_stays_and_the_next_never_begins(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    set_fault(locks, "beta", "unhealthy", [f"{ESTATE_WIDE} step_1"])
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert run.verdict["message"] == (
        f"alpha: {PROMOTED.format(ESTATE_WIDE)}\n"
        f"beta: rolled back: {ESTATE_WIDE}: gate of size 2 is fail: health: 0.5 ratio is not >= 0.99 ratio "
        f"(toy; 100 samples)\nRestored: {ESTATE_WIDE}.\n"
        "Left behind: nothing. Next: remove the reason and trigger a new run.\n"
        "gamma: not started: beta was not promoted"
    )
    assert sizes(locks) == {"alpha": [2], "beta": [1], "gamma": [1]}
    assert world_of(locks, "gamma").events == []
    assert holders(locks) == FREE
    assert run.tasks["gamma.begin"] == "skipped"
    assert run.tasks["gamma.ap_northeast_1.take_snapshot"] == "skipped"
    assert steps(ledger, run, "gamma") == ["plan", "answer", "approval", "verdict"]
    assert [change.chain.lever for change in ledger.survey().standing] == ["alpha"]


def test_an_unknown_gate_is_judged_again_and_the_levers_after_it_go_on(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    from tests.dags import conftest

    set_fault(locks, "beta", "no data", [f"{ESTATE_WIDE} step_1"])
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unknown")
    assert sizes(locks) == {"alpha": [2], "beta": [2], "gamma": [1]}
    assert run.verdict["left_behind"] == [f"beta {ESTATE_WIDE}: written to, neither promoted nor rolled back"]
    # The lock stays where the change stands; the regions are free for others meanwhile.
    assert holders(locks) == {**FREE, ESTATE_WIDE: f"{DAG_ID}/{run.run_id}"}
    call = next(line for line in run.verdict["message"].splitlines() if line.startswith("Next, once the data is there"))
    body = json.loads(call.partition(f" in the UI or by POST /api/v2/dags/{DAG_ID}/clearTaskInstances ")[2])
    assert body["task_ids"] == ["beta.estate_wide.step_1.judge_gates"]

    set_fault(locks, "beta", "no data", [])
    cleared = {*conftest.clear(DAG_ID, body)}
    # Airflow clears a setup with what it is for: the locks that were given up are taken again.
    assert {"take_locks", "beta.choose_ending", "gamma.begin", "release_locks", "verdict"} <= cleared
    assert not cleared & {
        "alpha.choose_ending",
        "confirm_unchanged",
        "beta.begin",
        "beta.estate_wide.step_1.apply_stage",
    }
    again = run_dag(several_dag(locks), {}, goes_on=run.run_id)
    assert (again.state, again.verdict["verdict"], again.verdict["message"]) == ("success", "promoted", ALL_PROMOTED)
    assert sizes(locks) == {"alpha": [2], "beta": [2], "gamma": [2]}
    assert holders(locks) == FREE


def test_an_unknown_gate_is_undone_by_the_verdicts_command_and_the_one_before_stays(
    locks: World, run_dag: Runner
) -> None:
    set_fault(locks, "beta", "no data", [f"{ESTATE_WIDE} step_1"])
    run = run_dag(several_dag(locks), QUICK)
    command = "airflow dags trigger rollback --conf '"
    conf = run.verdict["message"].partition(command)[2].partition("'")[0]
    undone = run_dag(rollback_dag(locks, estate_of(AP)), json.loads(conf))
    assert (undone.state, undone.verdict["message"]) == ("success", f"rolled back and verified: {ESTATE_WIDE} beta.")
    assert sizes(locks) == {"alpha": [2], "beta": [1], "gamma": [1]}
    assert holders(locks) == FREE


def test_the_rollback_undoes_one_lever_or_everything(locks: World, ledger: Ledger, run_dag: Runner) -> None:
    estate = estate_of(AP)
    run_dag(several_dag(locks), QUICK)
    one = run_dag(rollback_dag(locks, estate), {"lever": "gamma", "dry_run": False})
    assert (one.state, sizes(locks)) == ("success", {"alpha": [2], "beta": [2], "gamma": [1]})
    rest = run_dag(rollback_dag(locks, estate), {"dry_run": False})
    assert rest.verdict["message"] == f"rolled back and verified: {ESTATE_WIDE} beta, {ESTATE_WIDE} alpha."
    assert sizes(locks) == {"alpha": [1], "beta": [1], "gamma": [1]}
    assert ledger.survey().standing == ()


def test_a_rejection_is_on_record_with_every_lever_and_writes_nothing(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    run = run_dag(several_dag(locks), QUICK, answer="Reject")
    assert (run.state, run.verdict["verdict"]) == ("failed", "rejected")
    assert run.verdict["message"] == (
        "rejected by platform-lead. Nothing was changed. Next: trigger a new run and have its plan approved."
    )
    assert (sizes(locks), holders(locks)) == ({"alpha": [1], "beta": [1], "gamma": [1]}, {})
    for lever in LEVERS:
        answer, verdict = records(ledger, run, lever)[1:]
        assert (answer.figures["approved"], verdict.figures["verdict"]) == (False, "rejected")


def test_a_dry_run_plans_every_lever_and_stops_before_the_approval(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    run = run_dag(several_dag(locks), {"size": 2})
    assert (run.state, run.verdict["verdict"], run.tasks["await_approval"]) == ("success", "dry run", "skipped")
    assert {lever: steps(ledger, run, lever) for lever in LEVERS} == {key: ["plan", "verdict"] for key in LEVERS}
    assert {task for task, state in run.tasks.items() if state == "success"} == {
        "check_preflight", "make_plan", "is_real_run", "verdict",
    }  # fmt: skip


def test_a_lever_with_nothing_to_do_is_skipped_and_the_next_begins(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    set_size(locks, "alpha", ESTATE_WIDE, 2)
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    first, second, _ = run.verdict["message"].splitlines()
    assert first == "alpha: nothing to do: everything is as it should be"
    assert second == f"beta: {PROMOTED.format(ESTATE_WIDE)}"
    assert run.tasks["alpha.begin"] == "skipped"
    assert steps(ledger, run, "alpha") == ["plan", "answer", "approval", "verdict"]
    assert sizes(locks) == {"alpha": [2], "beta": [2], "gamma": [2]}


def test_with_nothing_to_do_for_any_the_run_is_green_and_says_so(locks: World, run_dag: Runner) -> None:
    for lever, places in {"alpha": [ESTATE_WIDE], "beta": [ESTATE_WIDE], "gamma": [AP]}.items():
        for place in places:
            set_size(locks, lever, place, 2)
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("success", "nothing to do")
    assert holders(locks) == FREE


def test_a_plan_of_a_later_lever_that_changed_after_the_approval_refuses_the_whole_run(
    locks: World, run_dag: Runner
) -> None:
    run = run_dag(several_dag(locks), QUICK, before_answer=lambda: set_size(locks, "gamma", AP, 7))
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert "refused: confirm_unchanged: gamma: the plan changed between the approval and now" in run.verdict["message"]
    assert f"{AP} live.size: 1 -> 7" in run.verdict["message"]
    assert sizes(locks) == {"alpha": [1], "beta": [1], "gamma": [7]}
    assert holders(locks) == FREE


def test_a_plan_that_changes_while_earlier_levers_are_rolled_out_refuses_that_lever_alone(
    locks: World, run_dag: Runner
) -> None:
    clients = when_task_begins(locks, "beta.estate_wide.step_1.judge", lambda: set_size(locks, "gamma", AP, 7))
    run = run_dag(several_dag(locks, clients=clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert "gamma: refused: gamma.begin: the plan changed between the approval and now" in run.verdict["message"]
    assert sizes(locks) == {"alpha": [2], "beta": [2], "gamma": [7]}


def test_an_answer_to_a_plan_that_was_made_again_meanwhile_approves_nothing(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    from tests.dags import conftest

    def plan_again() -> None:
        for run_id, _ in conftest.waiting(DAG_ID):
            ledger.append(Chain("beta", "estate", DAG_ID, run_id), "plan", {"hash": "b", "joint": "a", "plans": {}})

    run = run_dag(several_dag(locks), QUICK, before_answer=plan_again)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert "but the plan on record is b; clear await_approval and have it approved" in run.verdict["message"]
    assert holders(locks) == {}


def test_a_process_that_is_killed_is_tried_again_and_the_order_is_kept(locks: World, run_dag: Runner) -> None:
    set_fault(locks, "beta", f"crash {ESTATE_WIDE} step_1")
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    assert world_of(locks, "beta").events == [f"apply {ESTATE_WIDE} step_1"] * 2


def test_a_lever_marked_as_promoted_by_hand_does_not_let_the_next_begin(locks: World, run_dag: Runner) -> None:
    """Its gate fails, somebody marks the tasks of its end successful: the ledger says what happened."""
    set_fault(locks, "alpha", "unhealthy", [f"{ESTATE_WIDE} step_1"])
    run = run_dag(several_dag(locks), QUICK, marked=r"alpha\.(promote|choose_ending)")
    assert run.state == "failed"
    assert run.tasks["beta.begin"] == "skipped"
    assert sizes(locks)["beta"] == [1]


def test_failed_checks_of_all_levers_are_shown_at_once(locks: World, run_dag: Runner) -> None:
    set_fault(locks, "alpha", "preflight", [ESTATE_WIDE])
    set_fault(locks, "gamma", "preflight", [AP])
    run = run_dag(several_dag(locks), QUICK)
    assert (run.state, run.verdict["message"]) == (
        "failed",
        "refused: check_preflight: preflight refused, 2 check(s) failed and nothing was changed:\n"
        f"{ESTATE_WIDE}: alpha: toy: the region is broken -> mend the region\n"
        f"{AP}: gamma: toy: the region is broken -> mend the region\n"
        "Nothing was changed. Next: remove the reason and trigger a new run.",
    )


def test_an_emergency_rollback_of_an_earlier_lever_keeps_the_later_ones_from_beginning(
    locks: World, ledger: Ledger, run_dag: Runner
) -> None:
    """It takes the lock of the estate over and gives it back while beta soaks."""
    from include.rollout import steps as engine
    from tests.dags.several_levers import Alpha
    from tests.dags.toy import clients_of

    estate, make = estate_of(AP), clients_of(locks)

    def undo() -> None:
        (chain,) = ledger.chains("alpha", ESTATE_WIDE)
        snapshot = ledger.snapshot(chain)
        assert snapshot is not None
        made = engine.Run(
            Alpha(), estate, {}, "rollback", "undo", ledger, lambda place: make(place, estate), lambda _: None
        )
        made.lock(ESTATE_WIDE).take_over()
        engine.undo_changes(made, ESTATE_WIDE, snapshot)
        engine.verify_restored(made, ESTATE_WIDE, snapshot)
        engine.unlock_places(made, [ESTATE_WIDE])

    clients = when_task_begins(locks, "beta.estate_wide.step_1.judge_gates", undo)
    run = run_dag(several_dag(locks, clients=clients), QUICK)
    assert run.state == "failed"
    assert "alpha: rolled back: " in run.verdict["message"]
    assert f"{ESTATE_WIDE}: undone by rollback/undo." in run.verdict["message"]
    assert run.tasks["gamma.begin"] == "skipped"
    assert sizes(locks)["alpha"] == [1]
    assert sizes(locks)["gamma"] == [1]


def test_the_graph_is_exactly_this(locks: World) -> None:
    dag = several_dag(locks)
    place = {"alpha": "estate_wide", "beta": "estate_wide", "gamma": "ap_northeast_1"}
    wanted = {
        "check_preflight": {"make_plan"},
        "make_plan": {"is_real_run"},
        "is_real_run": {"await_approval", "write_export"},
        "write_export": {"verdict"},
        "await_approval": {"take_locks"},
        "take_locks": {"confirm_unchanged", "release_locks"},
        "confirm_unchanged": {"alpha.begin"},
        "release_locks": {"verdict"},
        "verdict": set(),
    }
    for lever, after in (("alpha", "beta.begin"), ("beta", "gamma.begin"), ("gamma", "release_locks")):
        here, back = f"{lever}.{place[lever]}", f"{lever}.rollback.{place[lever]}"
        wanted |= {
            f"{lever}.begin": {f"{here}.take_snapshot"},
            f"{here}.take_snapshot": {f"{here}.step_1.apply_stage"},
            f"{here}.step_1.apply_stage": {f"{here}.step_1.await_soak"},
            f"{here}.step_1.await_soak": {f"{here}.step_1.judge_gates"},
            f"{here}.step_1.judge_gates": {f"{lever}.choose_ending"},
            f"{lever}.choose_ending": {f"{lever}.promote", f"{back}.undo_changes"},
            f"{lever}.promote": {after},
            f"{back}.undo_changes": {f"{back}.verify_restored"},
            f"{back}.verify_restored": {after},
        }
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == wanted
    assert dag.task_ids == several_dag(locks).task_ids


def test_a_setting_that_means_something_else_in_two_levers_is_refused_at_parse(
    locks: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherSettings(ToySettings):
        size: Annotated[int, Field(ge=1, le=9, description="Size wanted in every region")] = 4

    monkeypatch.setattr(several_levers.Beta, "settings_type", OtherSettings)
    with pytest.raises(FormError) as refused:
        several_dag(locks)
    assert str(refused.value) == (
        "size of OtherSettings is not that of ToySettings (default): a form shows a name once, so let both take it "
        "from one model, or rename one of them"
    )


def test_a_name_that_no_lever_has_is_refused_in_the_first_task(locks: World, run_dag: Runner) -> None:
    run = run_dag(several_dag(locks), QUICK | {"sise": 3})
    assert run.tasks["check_preflight"] == "failed"
    assert "sise: no such parameter; did you mean 'size'?" in run.verdict["message"]
