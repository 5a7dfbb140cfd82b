"""Fields of Kubernetes objects: what a manager owns, and what is shown of them."""

from __future__ import annotations

import pytest

from include.levers.fields import owned, projection


def test_owned_takes_the_fields_of_one_manager_items_of_lists_by_their_key() -> None:
    live = {"spec": {"replicas": 3, "ports": [{"port": 1, "name": "a", "x": 1}, {"port": 2}], "set": ["p", "q"]}}
    fields = {"f:spec": {".": {}, "f:ports": {'k:{"port":1}': {".": {}, "f:name": {}}}, "f:set": {'v:"q"': {}}}}
    assert owned(live, fields) == {"spec": {"ports": [{"port": 1, "name": "a"}], "set": ["q"]}}
    assert owned(live, {"f:spec": {"f:gone": {}}}) == {"spec": {}}


def test_projection_keeps_the_wanted_fields_only() -> None:
    live = {"a": 1, "b": [{"c": 2, "default": 3}], "more": 4}
    assert projection(live, {"a": 0, "b": [{"c": 0}], "missing": 0}) == {"a": 1, "b": [{"c": 2}]}
    assert projection([1, 2], [1]) == [1, 2]
    assert projection([{"a": 1, "d": 2}], [{"a": 1}]) == [{"a": 1}]


@pytest.mark.parametrize("key", ["name", "containerPort", "port", "mountPath", "topologyKey", "key", "ip", "uid"])
def test_entries_of_others_in_a_list_with_keys_are_left_out_wherever_they_stand(key: str) -> None:
    live = [{key: "theirs", "value": "secret"}, {key: "b", "value": 2, "default": 1}, {key: "a", "value": 1}]
    assert projection(live, [{key: "a", "value": 0}, {key: "b", "value": 0}]) == [
        {key: "a", "value": 1},
        {key: "b", "value": 2},
    ]


def test_a_value_that_is_neither_wanted_nor_ours_is_not_shown() -> None:
    live = {"args": ["--password=x"], "image": "theirs", "mine": 1, "same": 2}
    wanted = {"args": ["--a"], "image": "a", "mine": 3, "same": 2}
    assert projection(live, wanted, {"mine": 1}) == {
        "args": "set by others", "image": "set by others", "mine": 1, "same": 2,
    }  # fmt: skip
    assert projection(live, wanted, None)["mine"] == "set by others"


def test_an_entry_that_only_an_earlier_run_of_ours_wanted_is_shown() -> None:
    live = [{"name": "a", "v": 1}, {"name": "old", "v": 2}, {"name": "theirs", "v": 3}]
    assert projection(live, [{"name": "a", "v": 1}], live[:2]) == live[:2]
