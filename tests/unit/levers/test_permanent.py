"""Does an owner's repository hold the change? By what the owner has written, or by the export that a person names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.estate import load_estate
from include.levers import checks
from include.levers.permanent import Owned, writes_it
from include.levers.world import World
from include.rollout.export import fingerprint
from include.rollout.lever import Check, Target
from tests.unit.levers.fake_cluster import FakeCluster

ESTATE = load_estate()
POOL = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "akidb-spot"}}
WANTED = {**POOL, "spec": {"limits": {"cpu": "120"}, "weight": 10}}
REMEDY = "pause it in argocd, or add argocd to governance.may_change_objects_of in estate.yaml"


def live(wanted: dict[str, Any], manager: str) -> dict[str, Any]:
    """An object that Argo CD tracks, last written by ``manager``."""
    cluster = FakeCluster([])
    tracked = {"annotations": {"argocd.argoproj.io/tracking-id": "akidb:karpenter.sh/NodePool:/akidb-spot"}}
    cluster.apply({**POOL, "metadata": {**POOL["metadata"], **tracked}, "spec": {"weight": 10}}, "argocd-controller")
    cluster.apply(wanted, manager, force=True)
    (found,) = cluster.objects.values()
    return found


def owner_checks(found: dict[str, Any], permanent: tuple[str, ...] = ()) -> Iterator[Check]:
    governance = ESTATE.governance.model_copy(update={"permanent": permanent})
    estate = ESTATE.model_copy(update={"governance": governance})
    world = World(Target("us-east-1", estate, "run", None, None))
    return checks.owners(world, {"NodePool akidb-spot": found}, "undo it", "pause it in {owner}, or", bodies)


def bodies() -> dict[str, Any]:
    return {"NodePool akidb-spot": WANTED}


def with_annotations(wanted: dict[str, Any]) -> dict[str, Any]:
    tracked = {"annotations": {"argocd.argoproj.io/tracking-id": "akidb:karpenter.sh/NodePool:/akidb-spot"}}
    return {**wanted, "metadata": {**wanted["metadata"], **tracked}}


def test_an_owner_that_has_written_every_wanted_field_holds_it() -> None:
    (check,) = owner_checks(live(with_annotations(WANTED), "argocd-controller"))
    assert (check.passed, check.reason) == (
        True,
        "NodePool akidb-spot is managed by argocd, whose repository holds it: each wanted field has its value and is "
        "the owner's",
    )


@pytest.mark.parametrize(
    ("wanted", "manager"),
    [
        ({**POOL, "spec": {"limits": {"cpu": "200"}, "weight": 10}}, "argocd-controller"),  # another value
        (WANTED, "akidb-rollout"),  # the value is there, and not from the repository: it would be taken back
    ],
)
def test_an_owner_that_has_not_written_it_is_refused(wanted: dict[str, Any], manager: str) -> None:
    (check,) = owner_checks(live(with_annotations(wanted) if "argo" in manager else wanted, manager))
    assert (check.passed, check.remedy) == (False, REMEDY)


def test_a_named_export_is_held_and_another_one_is_not() -> None:
    found = live({**POOL, "spec": {"weight": 9}}, "argocd-controller")
    sha256 = fingerprint([WANTED])
    (check,) = owner_checks(found, ("0" * 64, sha256))
    assert check.reason.endswith(f"whose repository holds it: export {sha256[:12]} (governance.permanent)")
    (other,) = owner_checks(found, (fingerprint([{**WANTED, "spec": {"weight": 11}}]),))
    assert not other.passed


def test_an_object_of_which_the_export_says_nothing_is_held_by_nobody() -> None:
    found = live(with_annotations(WANTED), "argocd-controller")
    governance = ESTATE.governance.model_copy(update={"permanent": (fingerprint([WANTED]),)})
    world = World(Target("us-east-1", ESTATE.model_copy(update={"governance": governance}), "run", None, None))
    (check,) = checks.owners(world, {"Deployment rest": found}, "undo it", "pause it in {owner}, or", bodies)
    assert not check.passed


def test_a_list_is_one_field_and_belongs_to_who_wrote_it() -> None:
    spec = {"template": {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}}}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "r", "namespace": "x"}, "spec": spec}
    cluster = FakeCluster([])
    cluster.put({"kind": "Namespace", "metadata": {"name": "x"}})
    cluster.apply(body, "kustomize-controller")
    found = cluster.objects["Deployment", "x", "r"]
    assert writes_it(Owned("flux", found, body))
    assert not writes_it(Owned("argocd", found, body))
