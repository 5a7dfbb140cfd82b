"""The HTTPRoute that carries the weights: one of ours, or the backends of somebody else's rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.estate import Estate
from include.levers.fields import Object, applied_by, at
from include.levers.owned import Item, Own
from include.levers.request_routing.live import last_service, port_of, services
from include.levers.request_routing.settings import MANAGER
from include.levers.request_routing.weights import WHOLE, Weights

# Annotation: the record set's weight before the rollout, and those that the lever has written or is about to write.
RECORD_WEIGHTS = "akidb.io/record-weights"
ANY_PATH: Object = {"path": {"type": "PathPrefix", "value": "/"}}


def route_identity(estate: Estate) -> Object:
    """The HTTPRoute with nothing but its name."""
    metadata = {"name": estate.edge.routing.route, "namespace": estate.namespace}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata}


def is_theirs(route: Object | None) -> bool:
    """Whether somebody else made the route, so that only the backends of its rules are the lever's."""
    return route is not None and at(applied_by(MANAGER, route) or {}, ("spec", "parentRefs")) is None


def refs(estate: Estate, weights: Weights) -> list[Object]:
    """A reference to each Service, also to those that get nothing: a weight of 0 is none. With the API's defaults, so
    that what is read back is what was written.
    """
    return [
        {"group": "", "kind": "Service", "name": name, "port": port_of(estate, name), "weight": weights[name]}
        for name in services(estate)
    ]


def _is_routed(estate: Estate, rule: Mapping[str, Any]) -> bool:
    """Whether a rule sends its requests to the routed Services, plainly, and nowhere else."""
    found = rule.get("backendRefs") or []
    plain = all(ref.get("kind", "Service") == "Service" and not ref.get("filters") for ref in found)
    named = {ref["name"] for ref in found}
    return plain and named <= set(services(estate)) and last_service(estate) in named


def weights_of(estate: Estate, rule: Mapping[str, Any]) -> dict[str, int]:
    """The weights of a rule for every routed Service, adding up to WHOLE; empty when nobody gets anything."""
    given: dict[str, int] = {}
    for ref in rule["backendRefs"]:
        given[ref["name"]] = given.get(ref["name"], 0) + int(ref.get("weight", 1))
    total = sum(given.values())
    return {name: round(given.get(name, 0) / total * WHOLE) for name in services(estate)} if total else {}


def routed_rules(estate: Estate, route: Object | None) -> list[Object]:
    """The rules of a route that are the lever's to weigh."""
    rules = (route or {}).get("spec", {}).get("rules") or []
    return [rule for rule in rules if _is_routed(estate, rule)]


def standing(estate: Estate, route: Object | None) -> dict[str, int]:
    """The weights of the first rule that is routed; empty without one."""
    found = routed_rules(estate, route)
    return weights_of(estate, found[0]) if found else {}


def with_weights(estate: Estate, rules: Sequence[Object], weights: Weights) -> list[Object]:
    """The rules with these weights in those that are routed; every other field and rule stays as it is."""
    return [
        {**rule, "backendRefs": refs(estate, weights)}
        if _is_routed(estate, rule) and weights_of(estate, rule) != weights
        else rule
        for rule in rules
    ]


def route(estate: Estate, weights: Weights, rules: Sequence[Object] | None, record_weights: str) -> Item:
    """The HTTPRoute; ``rules`` are those of somebody else's route, None to own the whole of it."""
    body = route_identity(estate)
    if record_weights:
        body["metadata"]["annotations"] = {RECORD_WEIGHTS: record_weights}
    if rules is not None:
        return Item({**body, "spec": {"rules": with_weights(estate, rules, weights)}}, Own.FIELDS)
    rule = {"matches": [ANY_PATH], "backendRefs": refs(estate, weights)}
    return Item({**body, "spec": {"parentRefs": [{"name": estate.edge.routing.gateway}], "rules": [rule]}})


def record_weights(found: Object | None) -> tuple[int, ...]:
    """What the route's annotation says: the weight before the rollout, then those written since; empty without one."""
    text = at(found or {}, ("metadata", "annotations", RECORD_WEIGHTS)) or ""
    return tuple(int(word) for word in str(text).split() if word.isdigit())


def noted(known: Sequence[int], before: int, new: int) -> str:
    """The annotation with which ``new`` may be written: what stands now stays known as the lever's until it is gone."""
    if known and known[0] == before and known[-1] == new:
        return " ".join(map(str, known))
    last = known[-1:] if len(known) > 1 and known[-1] != new else ()
    return " ".join(map(str, (before, *last, new)))
