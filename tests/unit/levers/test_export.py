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


def test_it_reads_back_as_it_was_meant_and_terraform_takes_every_argument(scene: Scene) -> None:
    plan, export = planned(scene)
    found = written(scene.lever, plan, export)
    assert found, "the lever exports nothing"
    assert documents(found.get("manifests.yaml", b"")) == [*export.manifests]
    assert documents(found.get("patches.yaml", b"")) == [*export.patches]
    assert [line for one in export.resources for line in problems(one.type, one.arguments)] == []
    for change in export.changes:
        if change.resource.startswith("aws_"):
            assert is_argument(change.resource, change.argument), change


def test_applied_where_nothing_of_it_stands_it_gives_what_the_levers_own_apply_gives(
    scene: Scene, tmp_path: Path
) -> None:
    plan, export = planned(scene)
    scene.apply_all()
    after = export_of(scene.lever, scene.target, plan)
    assert _without_imports(written(scene.lever, plan, after)) == _without_imports(written(scene.lever, plan, export))
    # What has come to be is imported; but for that the resources are the same.
    assert [one.address for one in after.resources] == [one.address for one in export.resources]
    if export.manifests or export.patches:
        other = SCENES[scene.lever.name](tmp_path / "other")
        _merge(other, written(scene.lever, plan, export))
        _compare(export, scene, other)
        other.close()


def _without_imports(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if name != "main.tf.json"}


def _merge(scene: Scene, found: dict[str, bytes]) -> None:
    """Apply the files as a person is told to in them."""
    cluster, manager = scene.target.clients.kubernetes, getattr(scene.lever, "manager", "")
    for name, force in (("manifests.yaml", False), ("patches.yaml", True)):
        for body in documents(found.get(name, b"")):
            cluster.apply(copy.deepcopy(body), manager, force=force)


def _compare(export: Export, one: Scene, other: Scene) -> None:
    for body in export.manifests:
        assert _content(other, body) == _content(one, body), body["metadata"]["name"]
    for body in export.patches:
        for path, value in leaves(body):
            found = [projection(at(_live(scene, body), path), value) for scene in (one, other)]
            assert found == [value, value], (body["metadata"]["name"], path)


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
