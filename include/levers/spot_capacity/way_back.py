"""How one Deployment gets back what a snapshot says, and who owns it then. Pure functions.

The lever owns one constraint over the domains, one over zones and one toleration in it; all else is somebody's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.kubernetes import DEPLOYMENT
from include.estate import Estate
from include.levers.common import Object
from include.levers.spot_capacity.live import MANAGER, TOLERATIONS, owns_tolerations, toleration_owners
from include.levers.spot_capacity.plan import (
    TITLES,
    constraint_of,
    spread,
    toleration,
    tolerations_of,
    zone_constraint,
    zones_of,
)
from include.rollout.lever import Difference

PARTS = ("constraints", "zones", "tolerations")


@dataclass(frozen=True)
class Back:
    """``body`` for server-side apply, None when nothing is to be written; ``after``: the Deployment as it is then.

    ``owners``: ``[manager, operation]`` of those who get the tolerations' ownership back, None when it is not ours.
    ``others``: what stays although the snapshot says otherwise.
    """

    body: Object | None
    after: Object
    owners: list[list[str]] | None
    others: tuple[Difference, ...]


def way_back(estate: Estate, name: str, live: Object, snapshot: Mapping[str, Any]) -> Back:
    """What sets a live Deployment back."""
    now: dict[str, Any] = {
        "constraints": constraint_of(live),
        "zones": zones_of(live),
        "tolerations": tolerations_of(live),
    }
    was = {part: value_before(estate, name, part, now[part], snapshot) for part in PARTS}
    domain = now["constraints"]
    ours = constraint_of(spread(estate, name, (domain or {}).get("minDomains", 0)))
    if domain not in (was["constraints"], ours) and is_hard(domain):
        # Somebody has made the constraint theirs: its pods still need the pools, and the right to run there.
        return Back(None, live, None, _differences(name, was, now))
    target = {
        "constraints": was["constraints"] if domain == ours else domain,
        "zones": _without(now["zones"], zone_constraint(estate, name), was["zones"]),
        "tolerations": _without(now["tolerations"], toleration(estate, name), was["tolerations"]),
    }
    others = _differences(name, was, target)
    after = _with(live, target)
    if target == now and not _is_left_over(estate, name, live, target):
        return Back(None, live, None, others)
    return _written(estate, name, live, snapshot, target, after, others)


def is_hard(constraint: Mapping[str, Any] | None) -> bool:
    """Whether pods with this constraint wait rather than run elsewhere."""
    return constraint is not None and constraint["whenUnsatisfiable"] == "DoNotSchedule"


def value_before(estate: Estate, name: str, part: str, now: Any, snapshot: Mapping[str, Any]) -> Any:
    """What the snapshot says of a part; where it is of a release that knew no such part, all but the lever's own."""
    if name in snapshot.get(part, {}):
        return snapshot[part][name]
    if part == "constraints":
        return None
    own = zone_constraint(estate, name) if part == "zones" else toleration(estate, name)
    return _without(now, own, None)


def _without(now: list[Object] | None, own: Object, was: list[Object] | None) -> list[Object] | None:
    """The live list without the lever's own entry, unless it was there before."""
    return [entry for entry in now or [] if entry != own or own in (was or [])] or None


def _differences(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(Difference(TITLES[p].format(name), was[p], now[p]) for p in PARTS if was[p] != now[p])


def _with(live: Object, target: Mapping[str, Any]) -> Object:
    after = copy.deepcopy(live)
    spec = after["spec"]["template"]["spec"]
    mine = (constraint_of(live), *(zones_of(live) or []))
    rest = [c for c in spec.get("topologySpreadConstraints") or [] if c not in mine]
    domain = [target["constraints"]] if target["constraints"] else []
    spec["topologySpreadConstraints"] = [*domain, *(target["zones"] or []), *rest]
    spec["tolerations"] = target["tolerations"] or []
    return after


def _is_left_over(estate: Estate, name: str, live: Object, target: Mapping[str, Any]) -> bool:
    """Whether an attempt that was cut short has left us the owner of tolerations that are somebody else's."""
    own = toleration(estate, name)
    return own not in (target["tolerations"] or []) and any(map(_is_ours, _entries(live)))


def _written(
    estate: Estate,
    name: str,
    live: Object,
    snapshot: Mapping[str, Any],
    target: Mapping[str, Any],
    after: Object,
    others: tuple[Difference, ...],
) -> Back:
    body, own = spread(estate, name, 0), toleration(estate, name)
    domain, zone = target["constraints"], zone_constraint(estate, name)
    ours = constraint_of(spread(estate, name, (domain or {}).get("minDomains", 0)))
    constraints = [domain] if domain and (domain == ours or domain != constraint_of(live)) else []
    constraints += [zone] if zone in (target["zones"] or []) else []
    spec: Object = {"topologySpreadConstraints": constraints} if constraints else {}
    owners = None
    tolerations = target["tolerations"] or []
    held = any(map(_is_ours, _entries(live))) or own in (tolerations_of(live) or [])
    # Giving up a list that is ours alone would take the entries of others with it: they are written, and handed back.
    if tolerations and held:
        spec["tolerations"] = tolerations
        if own not in tolerations:
            known = (snapshot.get("toleration_owners") or {}).get(name) or []
            owners = [*toleration_owners(live), *(owner for owner in known if owner not in toleration_owners(live))]
    # Applying without a field gives it up: it goes, unless another manager has claimed it too.
    body["spec"] = {"template": {"spec": spec}} if spec else {}
    return Back(body, after, owners, others)


# Ownership -------------------------------------------------------------------------------------------------------


def _entries(live: Object) -> Sequence[Object]:
    return live["metadata"].get("managedFields") or []


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return owns_tolerations(entry) and (entry["manager"], entry.get("operation", "Apply")) == (MANAGER, "Apply")


def handed_back(entries: Sequence[Object], owners: Sequence[Sequence[str]]) -> list[Object]:
    """managedFields in which the tolerations belong to ``owners`` again, and to us no more."""
    handed = copy.deepcopy(list(entries))
    for entry in filter(_is_ours, handed):
        _drop(entry["fieldsV1"], TOLERATIONS)
    for manager, operation in owners:
        entry = _entry_of(handed, manager, operation)
        fields = entry["fieldsV1"]
        for step in TOLERATIONS:
            fields = fields.setdefault(step, {})
    return [entry for entry in handed if entry.get("fieldsV1")]


def _entry_of(entries: list[Object], manager: str, operation: str) -> Object:
    """A manager's entry; a new one where it owned nothing but what was taken over, and went with that."""
    for entry in entries:
        if (entry["manager"], entry["operation"]) == (manager, operation):
            return entry
    made = {"manager": manager, "operation": operation, "apiVersion": DEPLOYMENT.api_version}
    entries.append({**made, "fieldsType": "FieldsV1", "fieldsV1": {}})
    return entries[-1]


def _drop(fields: dict[str, Any], path: Sequence[str]) -> None:
    """Remove a path, and what holds nothing else."""
    inner = fields.get(path[0])
    if inner is None:
        return
    if len(path) > 1:
        _drop(inner, path[1:])
    if len(path) == 1 or not inner:
        del fields[path[0]]
