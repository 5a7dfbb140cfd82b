"""A run that exports: files beside its records and nothing else; and what a promotion keeps."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.rollout import several, steps
from include.rollout.export import Export, export_of
from include.rollout.ledger import WHOLE_RUN, Ledger, SecretRefusedError, last
from include.rollout.lever import Plan, Refused, Target
from include.rollout.several import Several
from include.rollout.steps import NotWanted, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, US, Clock, roll_out, start

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "toy"}, "data": {"size": "3"}}


class Exporting(Toy):
    """A toy whose size is a ConfigMap."""

    manager = "akidb-toy"

    def export(self, target: Target, plan: Plan) -> Export:
        return Export(manifests=({**MAP, "data": {"size": str(plan.differences[0].after)}},))


def exporting(run: Run, **params: Any) -> Run:
    return replace(run, lever=Exporting(), params={**run.params, "deliver": "export", **params})


@pytest.mark.parametrize("dry_run", [True, False])
def test_it_writes_files_and_changes_nothing(run: Run, world: World, tmp_path: Path, dry_run: bool) -> None:
    made = exporting(run, dry_run=dry_run)
    before = world.read()
    steps.check_preflight(made)
    steps.make_plan(made)
    found = steps.write_export(made)
    assert [record.step for record in made.records(WHOLE_RUN)] == ["preflight", "plan", "export"]
    assert world.read() == before
    assert [*found] == [AP, US]
    folder = found[AP]["folder"]
    assert folder.startswith(f"toy/{AP}/toy_rollout--manual__1/export/")
    text = (tmp_path / "ledger" / folder / "manifests.yaml").read_bytes()
    assert found[AP]["files"]["manifests.yaml"] == hashlib.sha256(text).hexdigest()
    assert b"--field-manager=akidb-toy" in text
    assert found[AP]["sha256"] == export_of(made.lever, made.target(AP), made.lever.plan(made.target(AP))).sha256
    verdict = steps.conclude(made, None, [])
    assert (verdict.name, verdict.green) == ("exported", True)
    assert f"{AP}: kustomization.yaml, manifests.yaml in {folder} (sha256 {found[AP]['sha256']})" in verdict.message
    assert "nothing was changed" in verdict.message


def test_a_second_try_writes_the_same_folder_and_no_chain_is_broken(run: Run) -> None:
    made = exporting(run)
    steps.make_plan(made)
    assert steps.write_export(made) == steps.write_export(made)
    assert made.ledger.survey().bad == {}
    assert made.ledger.touched(made.chain(), made.places) == []


def test_a_run_that_applies_writes_none(run: Run) -> None:
    with pytest.raises(NotWanted, match="deliver is not export"):
        steps.write_export(run)


def test_a_frozen_day_is_no_reason_against_files(run: Run) -> None:
    frozen = run.estate.governance.model_copy(update={"freeze_days": (run.clock().date(),)})
    made = replace(exporting(run, dry_run=False), estate=run.estate.model_copy(update={"governance": frozen}))
    steps.check_preflight(made)


def test_what_looks_like_a_credential_is_written_nowhere(run: Run, tmp_path: Path) -> None:
    class Leaky(Exporting):
        def export(self, target: Target, plan: Plan) -> Export:
            return Export(manifests=({**MAP, "data": {"url": "https://a:hunter2hunter2@b.example"}},))

    made = replace(exporting(run), lever=Leaky())
    steps.make_plan(made)
    with pytest.raises(SecretRefusedError, match=r"manifests.yaml holds what looks like a credential"):
        steps.write_export(made)
    assert [*(tmp_path / "ledger").rglob("manifests.yaml")] == []


def promoted(run: Run, clock: Clock) -> dict[str, Any]:
    start(run)
    for region in run.places:
        steps.take_snapshot(run, region)
    for region in run.places:
        roll_out(run, region, clock, "step_1", "step_2")
    steps.decide(run)
    steps.promote(run)
    record = last(run.records(AP), "promoted")
    assert record is not None
    return dict(record.figures)


def test_a_promotion_keeps_the_text_that_an_export_has(run: Run, clock: Clock, tmp_path: Path) -> None:
    files = exporting(replace(run, run_id="files"))
    steps.make_plan(files)
    exported = steps.write_export(files)[AP]
    kept = promoted(replace(run, lever=Exporting()), clock)["export"]
    assert (kept["sha256"], kept["files"]) == (exported["sha256"], exported["files"])
    assert kept["folder"] != exported["folder"]
    store = Folder(tmp_path / "ledger")
    assert store.read(f"{kept['folder']}/manifests.yaml") == store.read(f"{exported['folder']}/manifests.yaml")


def test_an_export_that_fails_stops_no_promotion(run: Run, clock: Clock) -> None:
    class Broken(Exporting):
        def export(self, target: Target, plan: Plan) -> Export:
            raise ConnectionError("AWS is away")

    figures = promoted(replace(run, lever=Broken()), clock)
    assert figures["export"] == {"problem": "ConnectionError: AWS is away"}
    assert figures["after"] == {"size": 3}


def test_a_lever_without_files_exports_its_differences(run: Run, tmp_path: Path) -> None:
    made = replace(exporting(run), lever=Toy())
    steps.make_plan(made)
    folder = steps.write_export(made)[AP]["folder"]
    found = json.loads((tmp_path / "ledger" / folder / "changes.json").read_text())
    assert found["changes"][0] | {"path": "toy size", "before": 1, "after": 3} == found["changes"][0]


def test_several_levers_export_together(run: Run) -> None:
    made = exporting(run)
    whole = Several.of(made, [Exporting()])
    several.make_plan(whole)
    found = several.write_export(whole)
    assert [*found["toy"]] == [AP, US]
    verdict = several.conclude(whole, [])
    assert (verdict.name, verdict.green) == ("exported", True)
    assert f"toy {AP}: kustomization.yaml, manifests.yaml" in verdict.message


def test_attached_files_are_named_after_their_content(run: Run) -> None:
    ledger: Ledger = run.ledger
    one = ledger.attach(run.chain(AP), "export", {"a": b"1", "b": b"2"})
    assert one == ledger.attach(run.chain(AP), "export", {"b": b"2", "a": b"1"})
    assert one != ledger.attach(run.chain(AP), "export", {"a": b"2", "b": b"1"})
    assert ledger.records(run.chain(AP)) == []


def test_nothing_is_approved_by_an_export(run: Run) -> None:
    made = exporting(run)
    steps.make_plan(made)
    steps.write_export(made)
    assert steps.answer_on_record(made) is None
    with pytest.raises(Refused, match="Nothing is written without an approval of the plan"):
        steps.lock_places(made, made.places, steps.answer_on_record(made), take_over=False)
