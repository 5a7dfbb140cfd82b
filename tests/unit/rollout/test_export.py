"""What a lever wants as files: the same bytes for the same wish, whole objects apart from fields of others'."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import yaml

from include.rollout.export import (
    Change,
    Export,
    Reference,
    Resource,
    export_of,
    files,
    fingerprint,
    index,
    joined,
    label,
    literal,
    terraform,
)
from include.rollout.lever import Difference

MAP = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "x"}, "data": {"b": "1\n2\n"}}
PATCH = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rest"}, "spec": {"replicas": 0}}
QUEUE = Resource("aws_sqs_queue", "q", {"name": "q"}, "https://sqs/q@us-east-1", ("tags",))


def written(export: Export) -> dict[str, str]:
    return {name: data.decode() for name, data in files(export, "toy", "us-east-1", "akidb-toy").items()}


def test_objects_and_patches_are_documents_that_say_how_to_try_them() -> None:
    found = written(Export(manifests=(MAP,), patches=(PATCH,)))
    assert found["manifests.yaml"] == (
        "# toy in us-east-1: objects that the change owns.\n"
        "# To try them by hand: kubectl apply --server-side --field-manager=akidb-toy -f manifests.yaml\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: x\ndata:\n  b: |\n    1\n    2\n"
    )
    assert found["patches.yaml"].splitlines()[1].endswith("--force-conflicts -f patches.yaml")
    assert yaml.safe_load(found["kustomization.yaml"]) == {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["manifests.yaml"],
        "patches": [{"path": "patches.yaml"}],
    }
    assert [*found] == ["manifests.yaml", "patches.yaml", "kustomization.yaml"]


def test_what_would_be_empty_is_no_file() -> None:
    assert written(Export()) == {}
    assert [*written(Export(removed=("HealthCheck a",)))] == ["changes.json"]


def test_what_no_file_can_carry_says_where_to_set_it_and_what_goes() -> None:
    change = Change("Distribution E1 PriceClass", "All", "100", "aws_cloudfront_distribution", "E1", "price_class")
    assert json.loads(written(Export(changes=(change,), removed=("HealthCheck a",)))["changes.json"]) == {
        "changes": [
            {
                "path": "Distribution E1 PriceClass",
                "before": "All",
                "after": "100",
                "resource": "aws_cloudfront_distribution",
                "id": "E1",
                "argument": "price_class",
            }
        ],
        "removed": ["HealthCheck a"],
    }


def test_a_resource_that_exists_is_imported_and_keeps_what_others_move() -> None:
    new = Resource("aws_sqs_queue", "new", {"name": "new"})
    assert terraform([QUEUE, new]) == {
        "terraform": {
            "required_version": ">= 1.5",
            "required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 6"}},
        },
        "resource": {
            "aws_sqs_queue": {"q": {"name": "q", "lifecycle": {"ignore_changes": ["tags"]}}, "new": {"name": "new"}}
        },
        "import": [{"to": "aws_sqs_queue.q", "id": "https://sqs/q@us-east-1"}],
    }
    assert "import" not in terraform([new])


def test_a_text_is_literal_for_terraform_unless_it_is_a_reference() -> None:
    text = {"a": "${aws:username} %{if}", "b": [Reference("aws_sqs_queue.q.arn"), 1], "c": True}
    assert literal(text) == {"a": "$${aws:username} %%{if}", "b": ["${aws_sqs_queue.q.arn}", 1], "c": True}


def test_a_resources_name_has_letters_digits_and_underscores() -> None:
    assert label("api.akidb.example_A_us-east-1") == "api_akidb_example_A_us_east_1"
    assert label("559e954c") == "akidb_559e954c"


def test_the_hash_is_that_of_the_objects_whatever_their_order_and_without_namespaces() -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    one, other = Export(manifests=(space, MAP), patches=(PATCH,)), Export(manifests=(MAP,), patches=(PATCH,))
    assert one.sha256 == other.sha256 == fingerprint([PATCH, MAP])
    assert len(one.sha256) == 64
    assert one.sha256 != Export(manifests=({**MAP, "data": {"b": "2"}},), patches=(PATCH,)).sha256
    assert Export(resources=(QUEUE,)).sha256 == ""


def test_exports_are_joined_in_their_order_and_a_resource_is_there_once() -> None:
    again = Resource("aws_sqs_queue", "q", {"name": "other"})
    found = joined([Export(manifests=(MAP,), resources=(QUEUE,)), Export(resources=(again,), removed=("a",))])
    assert found == Export(manifests=(MAP,), resources=(QUEUE,), removed=("a",))


def test_resources_whose_names_read_alike_stay_two_however_often_they_are_joined() -> None:
    one, other = (
        Resource("aws_route53_record", label(f"{name}_A"), {"name": name}, f"Z1_{name}_A")
        for name in ("a-b.example", "a.b.example")
    )
    both = joined([Export(resources=(one,)), Export(resources=(other,))])
    assert [resource.arguments["name"] for resource in both.resources] == ["a-b.example", "a.b.example"]
    assert len(terraform(both.resources)["resource"]["aws_route53_record"]) == 2
    assert joined([both, Export(resources=(other, one))]) == both


def test_the_index_has_folder_hashes_and_counts() -> None:
    export = Export(manifests=(MAP,))
    found = index(export, {"manifests.yaml": b"a"}, "toy/us-east-1/run/export/0")
    assert found == {
        "folder": "toy/us-east-1/run/export/0",
        "sha256": export.sha256,
        "files": {"manifests.yaml": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
        "manifests": 1,
        "patches": 0,
        "resources": 0,
        "changes": 0,
        "removed": 0,
    }


def test_a_lever_that_knows_no_files_exports_its_differences() -> None:
    plan: Any = SimpleNamespace(differences=(Difference("toy size", 1, 3),))
    without: Any = SimpleNamespace()
    found = export_of(without, plan, plan)
    assert found == Export(changes=(Change("toy size", 1, 3),))
