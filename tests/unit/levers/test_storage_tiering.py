"""Lifecycle rules of model versions: planned by dollars, merged with others', proved, taken back. On moto, repaired."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.clients.aws import AwsRefusedError
from include.levers import lever
from include.levers.manifests import FOLDER
from include.levers.storage_tiering import StorageSettings
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Refused, Stage, Undo
from include.rollout.settings import build
from lab.cloud.storage import FOREIGN_RULES
from tests.unit.levers.storage_world import AP, CLOCK, LEVER, NOW, ROOT, US, World

MINE = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 5}}


@pytest.fixture
def world() -> Iterator[World]:
    made = World(US)
    yield made
    made.close()


def with_settings(world: World, **given: Any) -> Any:
    return replace(world.target, settings=build(StorageSettings, given, world.estate))


def outcomes(world: World, stage: Stage, applied: dict[str, Any]) -> dict[str, str]:
    results = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, applied))
    return {result.gate.name: result.outcome.value for result in results}


# Plan and preflight ---------------------------------------------------------------------------------------------------


def test_it_is_registered_acts_once_for_the_estate_and_says_what_its_undo_is() -> None:
    found = lever("storage_tiering")
    assert (found.name, str(LEVER.acts_in), LEVER.needs) == ("storage_tiering", "estate", frozenset({"aws"}))
    assert LEVER.undo_class is Undo.COPY_BACK


def test_the_plan_lists_versions_and_dollars_and_what_stays(world: World) -> None:
    plan, versions = LEVER.plan(world.target), world.prefixes(US)
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("42.842"), Decimal("9.229"))
    assert plan.price_book == "aws_s3 (2026-11-29), list prices of S3"
    assert [stage.title for stage in plan.stages] == [
        "20 lifecycle rules in akidb-ml-models, one a version; S3 moves once a day"
    ]
    assert len(plan.differences) == 20
    assert str(plan.differences[0]).endswith(": absent -> over 264180 bytes to DEEP_ARCHIVE after 30 days")
    assert plan.notes[:3] == (
        "us-east-1: 19 versions to DEEP_ARCHIVE: 38 objects, 1,583.38 GB, $33.92 -> $1.75 a month, once $0.0019 (paid "
        "back within a day), $386.15 saved while it is kept",
        "us-east-1: 1 version to GLACIER_IR: 2 objects, 83.34 GB, $1.79 -> $0.33 a month, once $0.00004 (paid back "
        "within a day), $17.43 saved while it is kept",
        f"{versions[0]} (164 days old) to DEEP_ARCHIVE: 2 objects, 83.34 GB, $1.79 -> $0.09 a month, once $0.0001 "
        "(paid back within a day), $20.32 saved while it is kept",
    )
    assert plan.notes[22:] == (
        f"{versions[21]} stays: one of the last 3",
        f"{versions[22]} stays: one of the last 3",
        f"{versions[23]} stays: champion",
        f"1 more younger than 30 days, for a later run: {versions[20]}",
        "read back: 1.00% of the bytes a month (setting models_retrieved_share_month)",
        "the plan has S3 at $150 -> $120 a month, for all buckets",
        "S3 moves objects about once a day: an undo within hours finds nothing moved; what has moved stays, and its "
        "minimum duration is charged",
    )
    assert LEVER.plan(world.target).hash() == plan.hash()


def test_a_plan_does_not_change_by_the_hour(world: World) -> None:
    before = LEVER.plan(world.target).hash()
    CLOCK.at += 3600
    assert LEVER.plan(world.target).hash() == before


def test_an_old_version_that_still_serves_stays_as_it_is() -> None:
    world = World()
    try:
        plan = LEVER.plan(world.target)
        (served,) = [p for p in world.prefixes(AP) if world.champions[AP] in p]
        assert f"{served} stays: champion" in plan.notes
        LEVER.apply(world.target, plan.stages[0])
        assert (len(world.ours()), served in world.ours()) == (59, False)
    finally:
        world.close()


def test_the_former_champion_alone_goes_where_it_can_be_read_at_once(world: World) -> None:
    world.apply_all()
    at_once = [p for p, rule in world.ours().items() if rule["Transitions"][0]["StorageClass"] == "GLACIER_IR"]
    assert at_once == [world.prefixes(US)[13]]


def test_without_a_whole_history_every_version_may_serve_again(world: World) -> None:
    world.s3.delete_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/history/000001-0-promoted.json")
    world.apply_all()
    assert {rule["Transitions"][0]["StorageClass"] for rule in world.ours().values()} == {"GLACIER_IR"}


def test_without_a_champion_nothing_is_planned_and_preflight_says_why(world: World) -> None:
    world.s3.delete_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/champion.json")
    said = "us-east-1: no champion.json in the bucket: without it nobody knows which model serves; run forecast_retrain"
    with pytest.raises(Refused, match=said):
        LEVER.plan(world.target)
    (failed,) = [check for check in LEVER.preflight(world.target) if not check.passed]
    assert failed.name == "champions"
    assert failed.reason.startswith(said)


def test_a_champion_that_is_archived_and_a_kept_version_that_is_are_named(world: World) -> None:
    champion, kept = world.prefixes(US)[23], world.prefixes(US)[22]
    world.move(f"{kept}model.onnx", "DEEP_ARCHIVE")
    line = f"archived already, by somebody else: {kept} (one of the last 3) has 1 object in DEEP_ARCHIVE"
    assert any(note.startswith(line) for note in LEVER.plan(world.target).notes)
    assert all(check.passed for check in LEVER.preflight(world.target))
    world.move(f"{champion}model.onnx", "GLACIER")
    (failed,) = [check for check in LEVER.preflight(world.target) if not check.passed]
    assert (failed.name, failed.reason) == ("champion of us-east-1", f"{champion}model.onnx is in GLACIER")
    assert failed.remedy.startswith("restore it (aws s3api restore-object), copy it onto itself with --storage-class")


def test_a_wrong_bucket_prefix_version_or_region_is_refused_with_the_remedy(world: World) -> None:
    def failed(target: Any) -> list[tuple[str, str, str]]:
        return [(c.name, c.reason, c.remedy) for c in LEVER.preflight(target) if not c.passed]

    elsewhere = copy.deepcopy(world.estate.model_dump(mode="json"))
    elsewhere["edge"]["models"]["prefix"] = "other/"
    estate = type(world.estate).model_validate(elsewhere)
    assert failed(replace(world.target, estate=estate)) == [
        (
            "model versions",
            "no version lies in s3://akidb-ml-models/other/models/<region>/versions/",
            "correct edge.models in estate.yaml: bucket, and prefix with its last slash",
        )
    ]
    unknown = with_settings(world, models_also_keep=["000001-000000000000"])
    assert [name for name, *_ in failed(unknown)] == ["model versions"]
    ((name, reason, _),) = failed(with_settings(world, models_metrics_filter="models"))
    assert (name, reason.partition(",")[0]) == ("read back", "models_metrics_filter: 'models' of akidb-ml-models has "
                                                "BytesDownloaded of 0 days")  # fmt: skip


def test_a_share_that_is_measured_counts_what_was_downloaded_in_a_month(world: World) -> None:
    stored = 24 * (83_333_333_333 + 2_400_000 + 3_000)
    where = [{"Name": "BucketName", "Value": world.bucket}, {"Name": "FilterId", "Value": "models"}]
    points = [
        {"MetricName": "BytesDownloaded", "Dimensions": where, "Value": stored / 100,
         "Timestamp": NOW - dt.timedelta(days=day, hours=1)}
        for day in range(20)
    ]  # fmt: skip
    world.session.client("cloudwatch").put_metric_data(Namespace="AWS/S3", MetricData=points)
    target = with_settings(world, models_metrics_filter="models")
    notes = LEVER.plan(target).notes
    assert "read back: 30.40% of the bytes a month (measured by request metrics models)" in notes


def test_where_nothing_pays_there_is_no_stage_and_each_loss_is_named(world: World) -> None:
    plan = LEVER.plan(with_settings(world, models_retrieved_share_month="2.5"))
    assert (plan.stages, plan.differences) == ((), ())
    assert plan.usd_month_before == plan.usd_month_after == Decimal("42.842")
    assert plan.notes[0].startswith(f"{world.prefixes(US)[0]} stays, every class loses money in its last 365 days: ")
    assert plan.notes[0].count("$") == 4


# Apply and gates ------------------------------------------------------------------------------------------------------


def test_others_rules_and_the_default_size_stay_as_they_are(world: World) -> None:
    world.put_rules(FOREIGN_RULES, TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    before = world.rules()
    (stage,) = LEVER.plan(world.target).stages
    applied = LEVER.apply(world.target, stage)
    assert (applied["objects"], len(applied["rules"])) == (1, 20)
    assert json.dumps(world.rules()[:2], sort_keys=True) == json.dumps(before, sort_keys=True)
    assert world.lifecycle()["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    first = world.prefixes(US)[0]
    body = {key: value for key, value in world.ours()[first].items() if key != "ID"}
    assert body == {
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": first, "ObjectSizeGreaterThan": 264180}},
        "Transitions": [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}],
    }
    assert world.ours()[first]["ID"] == f"akidb-tier-d3ec6889-{first.rstrip('/')}"
    assert outcomes(world, stage, applied) == {
        "rules_not_as_wanted": "pass", "champion_objects_unreadable": "pass", "kept_under_a_rule": "pass",
    }  # fmt: skip


def between(world: World, act: Callable[[], None], times: int = 1) -> None:
    """``act`` is done right before the lever's next write of the rules, when it has read them."""
    client = world.target.clients.aws.client("s3")
    left = iter(range(times))
    client.meta.events.register(
        "before-call.s3.PutBucketLifecycleConfiguration", lambda **_: act() if next(left, None) is not None else None
    )


def test_somebody_who_writes_whole_rules_after_us_gets_ours_merged_again(world: World) -> None:
    client = world.target.clients.aws.client("s3")
    once = iter((True,))

    def overwrite(**_: Any) -> None:
        if next(once, False):
            world.put_rules([MINE, *FOREIGN_RULES])

    client.meta.events.register("after-call.s3.PutBucketLifecycleConfiguration", overwrite)
    world.apply_all()
    names = [rule["ID"] for rule in world.rules()]
    assert names[:3] == ["theirs", "platform-abort-uploads", "data-team-exports"]
    assert len(world.ours()) == 20


def test_others_who_write_all_the_time_are_named(world: World) -> None:
    client, days = world.target.clients.aws.client("s3"), iter(range(5, 50))

    def overwrite(**_: Any) -> None:
        world.put_rules([{**MINE, "Expiration": {"Days": next(days)}}])

    client.meta.events.register("after-call.s3.PutBucketLifecycleConfiguration", overwrite)
    with pytest.raises(Refused, match="Lifecycle akidb-ml-models was changed by others 5 times in between"):
        world.apply_all()


def test_s3_that_goes_on_showing_the_rules_from_before_is_waited_for_and_named(world: World) -> None:
    between(world, lambda: None)
    shown = world.lifecycle()
    aws = world.target.clients.aws

    class Stale:
        """Reads what was, as S3 may for some minutes."""

        def __init__(self, reads: int) -> None:
            self.reads = reads

        def __getattr__(self, name: str) -> Any:
            return getattr(aws, name)

        def call(self, service: str, operation: str, **parameters: Any) -> Any:
            if operation == "get_bucket_lifecycle_configuration" and self.reads > 0:
                self.reads -= 1
                return copy.deepcopy(shown)
            return aws.call(service, operation, **parameters)

    plan, began = LEVER.plan(world.target), CLOCK.at
    clients = type(world.target.clients)(aws=Stale(5))
    LEVER.apply(replace(world.target, clients=clients), plan.stages[0])
    assert (CLOCK.at - began, len(world.ours())) == (15, 20)
    nothing = {"key": f"Lifecycle {world.bucket}", "was": {"rules": {}}}
    LEVER.rollback(world.target, {"versions": {}, "objects": [nothing]})
    with pytest.raises(NotConverged, match="Lifecycle akidb-ml-models: not reached within 600 s: it still shows the"):
        LEVER.apply(replace(world.target, clients=type(clients)(aws=Stale(1000))), plan.stages[0])


def test_a_rule_whose_objects_have_all_moved_goes_and_one_of_a_version_that_serves_again_too(world: World) -> None:
    world.apply_all()
    moved, again = world.prefixes(US)[0], world.prefixes(US)[13]
    for name in ("checkpoint.tar", "model.onnx"):
        world.move(f"{moved}{name}", "DEEP_ARCHIVE")
    pointer = world.s3.get_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/champion.json")["Body"].read()
    decision = {**json.loads(pointer), "version": again.split("/")[-2], "serial": 3}
    world.s3.put_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/champion.json", Body=json.dumps(decision).encode())
    (stage,) = LEVER.plan(world.target).stages
    applied = {"rules": sorted(rule["ID"] for rule in world.ours().values())}
    results = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, applied))
    assert [(r.gate.name, r.outcome.value, r.gate.safety) for r in results] == [
        ("rules_not_as_wanted", "pass", False),
        ("champion_objects_unreadable", "pass", True),
        ("kept_under_a_rule", "fail", True),
    ]
    assert results[2].reason.endswith(again)
    world.apply_all()
    assert not {moved, again} & {*world.ours()}
    assert len(world.ours()) == 18
    assert f"{moved} has moved; what is left of it is too small to gain" in LEVER.plan(world.target).notes


def test_a_gate_without_data_does_not_pass(world: World) -> None:
    (stage,) = LEVER.plan(world.target).stages
    world.s3.delete_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/champion.json")
    assert outcomes(world, stage, {}) == {
        "rules_not_as_wanted": "unknown", "champion_objects_unreadable": "unknown", "kept_under_a_rule": "unknown",
    }  # fmt: skip


def test_a_champion_that_is_archived_in_the_soak_fails_unless_a_copy_is_restored(world: World) -> None:
    (stage,) = LEVER.plan(world.target).stages
    applied = LEVER.apply(world.target, stage)
    key = f"{world.prefixes(US)[23]}model.onnx"
    world.move(key, "GLACIER")
    assert outcomes(world, stage, applied)["champion_objects_unreadable"] == "fail"
    world.s3.restore_object(Bucket=world.bucket, Key=key, RestoreRequest={"Days": 1})
    assert outcomes(world, stage, applied)["champion_objects_unreadable"] == "pass"


def test_a_rule_that_somebody_takes_away_or_switches_off_fails_its_gate(world: World) -> None:
    (stage,) = LEVER.plan(world.target).stages
    applied = LEVER.apply(world.target, stage)
    rules = world.rules()
    rules[5]["Status"] = "Disabled"
    world.put_rules(rules[:-1])
    figure = LEVER.observe(world.target, stage, 60, applied)["rules_not_as_wanted"]
    assert figure is not None
    assert (figure.value, figure.samples, rules[5]["ID"] in figure.note) == (2, 20, True)


def test_more_than_a_thousand_rules_are_refused_before_anything_is_written(world: World) -> None:
    many = [{**MINE, "ID": f"theirs-{n}", "Filter": {"Prefix": f"x{n}/"}} for n in range(985)]
    world.put_rules(many)
    with pytest.raises(Refused, match="at most 1000 lifecycle rules, and these would be 1005: let old versions"):
        world.apply_all()
    assert len(world.rules()) == 985


def test_a_lock_that_was_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    before = world.state()
    with pytest.raises(Refused, match="taken over"):
        LEVER.apply(replace(world.target, fence=fence), LEVER.plan(world.target).stages[0])
    assert world.state() == before


def test_a_rule_with_its_prefix_outside_of_a_filter_is_named_before_anything_is_written(world: World) -> None:
    """S3 takes no rule with a filter beside it: the write would be refused after the approval."""
    old = {"ID": "theirs-of-2016", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 5}}
    world.put_rules([old])
    (failed,) = [check for check in LEVER.preflight(world.target) if not check.passed]
    assert (failed.name, failed.reason, failed.remedy) == (
        "others' rules",
        "theirs-of-2016 give a prefix without a filter: S3 takes no rule with a filter beside them",
        "have their owner write them anew, the same prefix in a filter",
    )
    idle = with_settings(world, models_older_than_days=3650)
    assert LEVER.plan(idle).stages == ()
    assert all(check.passed for check in LEVER.preflight(idle))


# Undo -----------------------------------------------------------------------------------------------------------------


def test_an_undo_takes_our_rules_away_and_the_lifecycle_where_nothing_else_is_left(world: World) -> None:
    world.s3.delete_bucket_lifecycle(Bucket=world.bucket)
    before, snapshot = world.state(), json.loads(json.dumps(LEVER.snapshot(world.target)))
    world.apply_all()
    assert LEVER.rollback(world.target, snapshot).steps == ("Lifecycle akidb-ml-models set back",)
    assert (world.state(), world.lifecycle(), "s3:DeleteBucketLifecycle" in world.asked) == (before, {}, True)
    assert LEVER.verify_restored(world.target, snapshot) == []
    world.apply_all()
    world.put_rules([*world.rules(), MINE])
    LEVER.rollback(world.target, snapshot)
    assert world.rules() == [MINE]


def test_a_rule_of_ours_that_somebody_has_changed_stays_and_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    rules = world.rules()
    rules[2]["Status"] = "Disabled"
    world.put_rules(rules)
    restored = LEVER.rollback(world.target, snapshot)
    path = f"Lifecycle akidb-ml-models {rules[2]['ID']}"
    assert [str(d) for d in restored.changed_by_others] == [
        f"{path}: absent -> over 264180 bytes to DEEP_ARCHIVE after 30 days, Disabled"
    ]
    assert world.rules() == rules[:3]
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [path]


def test_an_undo_of_a_later_run_brings_back_the_rules_of_the_earlier_one(world: World) -> None:
    world.apply_all()
    before, later = world.state(), with_settings(world, models_older_than_days=90)
    snapshot = LEVER.snapshot(later)
    world.apply_all(later)
    assert len(world.ours()) == 11
    LEVER.rollback(later, snapshot)
    assert world.state() == before


def test_what_has_moved_by_then_stays_and_the_undo_names_what_copying_it_back_costs(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    prefix = world.prefixes(US)[0]
    for name in ("checkpoint.tar", "model.onnx"):
        world.move(f"{prefix}{name}", "DEEP_ARCHIVE")
    restored = LEVER.rollback(world.target, snapshot)
    text = (
        f"Objects akidb-ml-models {prefix} DEEP_ARCHIVE: STANDARD -> 2 of its objects stay in DEEP_ARCHIVE; copying "
        "them back after a restore of up to 12 hours costs $1.55, and at most $0.45 for the rest of the 180 days"
    )
    (moved,) = restored.changed_by_others
    assert f"{moved.path}: {moved.before} -> {moved.after}" == text
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [moved.path]
    assert world.ours() == {}
    for name in ("checkpoint.tar", "model.onnx"):
        world.move(f"{prefix}{name}", "STANDARD")
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_an_undo_needs_no_champion_and_says_when_the_bucket_is_gone(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.s3.delete_object(Bucket=world.bucket, Key=f"{ROOT}/{US}/champion.json")
    assert LEVER.rollback(world.target, snapshot).steps == ("Lifecycle akidb-ml-models set back",)
    thing = LEVER.thing("Lifecycle of-nobody", None)
    assert [str(d) for d in thing.unrestored(world.lever_world, {"rules": {}})] == [
        "Lifecycle of-nobody: absent -> there"
    ]
    with pytest.raises(Refused, match="Lifecycle of-nobody does not exist: nothing of it can be set"):
        thing.write(world.lever_world)


def test_a_refusal_of_s3_is_no_lifecycle_that_is_missing(world: World) -> None:
    def denied(**_: Any) -> None:
        raise AwsRefusedError("denied", "AccessDenied")

    client = world.target.clients.aws.client("s3")
    client.meta.events.register("before-call.s3.GetBucketLifecycleConfiguration", denied)
    with pytest.raises(AwsRefusedError, match="denied"):
        LEVER.snapshot(world.target)


# Rights ---------------------------------------------------------------------------------------------------------------

# IAM's name of a right is not always that of the operation.
RIGHTS = {
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
}


def test_the_iam_policy_allows_exactly_what_the_lever_asks_for(world: World) -> None:
    world.s3.delete_bucket_lifecycle(Bucket=world.bucket)
    snapshot = LEVER.snapshot(world.target)
    LEVER.preflight(with_settings(world, models_metrics_filter="models"))
    (stage,) = LEVER.plan(world.target).stages
    outcomes(world, stage, LEVER.apply(world.target, stage))
    LEVER.rollback(world.target, snapshot)
    policy = json.loads((FOLDER / "storage_tiering" / "iam_policy.json").read_text())
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert allowed == {RIGHTS.get(name, name) for name in world.asked}
