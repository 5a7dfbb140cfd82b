"""Every lever's export: applied to an API server without the change it gives what the lever's own apply gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from include import levers
from include.clients.kubernetes import KINDS
from include.levers.fields import at, leaves, projection
from include.rollout.export import Export, export_of, files
from include.rollout.lever import Lever, Plan
from tests.conformance.levers.scenes import SCENES, Scene
from tests.unit.levers.provider_arguments import is_argument, problems

pytestmark = pytest.mark.parametrize("lever", list(levers.LEVERS))
EMPTY = ("", (), [], {})


@pytest.fixture
def scene(lever: str, tmp_path: Path) -> Iterator[Scene]:
    if lever not in SCENES:
        pytest.skip(f"{lever} has no scene: it changes nothing that a repository could hold")
    made = SCENES[lever](tmp_path / "one")
    yield made
    made.close()


def planned(scene: Scene) -> tuple[Plan, Export]:
    plan = Plan.from_json(scene.lever.plan(scene.target).to_json())  # as the ledger keeps it
    return plan, export_of(scene.lever, scene.target, plan)


def written(lever: Lever, plan: Plan, export: Export) -> dict[str, bytes]:
    return files(export, lever.name, plan.place, getattr(lever, "manager", ""))


def documents(data: bytes) -> list[Any]:
    return [*yaml.safe_load_all(data.decode())]


def test_it_says_something_and_reads_back_as_it_was_meant(scene: Scene) -> None:
    plan, export = planned(scene)
    found = written(scene.lever, plan, export)
    assert found, "the lever exports nothing"
    assert documents(found.get("manifests.yaml", b"")) == [*export.manifests]
    assert documents(found.get("patches.yaml", b"")) == [*export.patches]


def test_the_text_is_the_same_before_and_after_the_change(scene: Scene) -> None:
    plan, export = planned(scene)
    scene.apply_all()
    after = export_of(scene.lever, scene.target, plan)
    before, now = written(scene.lever, plan, export), written(scene.lever, plan, after)
    assert {name: now[name] for name in now if name != "main.tf.json"} == {
        name: before[name] for name in before if name != "main.tf.json"
    }
    assert after.sha256 == export.sha256
    # What has come to be is imported; but for that the resources are the same, whatever a queue's tags are.
    assert [one.address for one in after.resources] == [one.address for one in export.resources]


def test_applied_to_a_server_without_the_change_it_gives_the_same_objects(scene: Scene, tmp_path: Path) -> None:
    plan, export = planned(scene)
    if not (export.manifests or export.patches):
        pytest.skip(f"{scene.lever.name} writes nothing to a cluster")
    found, manager = written(scene.lever, plan, export), getattr(scene.lever, "manager", "")
    other = SCENES[scene.lever.name](tmp_path / "other")
    cluster = other.target.clients.kubernetes
    for body in documents(found.get("manifests.yaml", b"")):
        cluster.apply(copy.deepcopy(body), manager)
    for body in documents(found.get("patches.yaml", b"")):
        cluster.apply(copy.deepcopy(body), manager, force=True)
    scene.apply_all()
    for body in export.manifests:
        assert _content(other, body) == _content(scene, body), body["metadata"]["name"]
    for body in export.patches:
        for path, value in leaves(body):
            one, two = at(_live(other, body), path), at(_live(scene, body), path)
            assert projection(one, value) == projection(two, value) == value, (body["metadata"]["name"], path)
    other.close()


def _live(scene: Scene, body: dict[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    found = scene.target.clients.kubernetes.get(KINDS[body["kind"]], metadata["name"], metadata.get("namespace"))
    assert found is not None, metadata
    return found


def _content(scene: Scene, body: dict[str, Any]) -> dict[str, Any]:
    """All that is in an object but what the server and its controllers keep there."""
    found = _live(scene, body)
    kept = {key: found["metadata"][key] for key in ("labels", "annotations") if found["metadata"].get(key)}
    parts = {k: v for k, v in found.items() if k not in ("metadata", "status", "apiVersion") and v not in EMPTY}
    return {**parts, "metadata": kept}


def test_terraform_takes_every_argument_that_is_named(scene: Scene) -> None:
    _, export = planned(scene)
    for one in export.resources:
        assert problems(one.type, one.arguments) == []
    for change in export.changes:
        if change.resource.startswith("aws_"):
            assert is_argument(change.resource, change.argument), change
