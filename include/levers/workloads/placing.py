"""Where a lever has a Deployment's pods run: a spread over domains and one over zones, and the right to be there.

It owns these three in the pod template and nothing else; what others have set there stays beside them, and goes back
to who owned it. Writing and setting back may run again after a crash at any point.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from include.clients.kubernetes import DEPLOYMENT
from include.levers.fields import handed_back, owners_of
from include.levers.nodes.scheduling import ZONE, tolerates
from include.levers.owned import hand_back
from include.levers.world import Object, World, name_of
from include.rollout.lever import Difference

PARTS = ("constraints", "zones", "tolerations")
TOLERATIONS = ("spec", "template", "spec", "tolerations")


def titles(domains: str) -> dict[str, str]:
    """The path of each part with a place for the Deployment's name; ``domains``: the label that it is spread over."""
    return {
        "constraints": f"Deployment/{{}} spread over {domains}",
        "zones": f"Deployment/{{}} spread over {ZONE}",
        "tolerations": "Deployment/{} tolerations",
    }


def constraints_over(deployment: Object, key: str) -> list[Object]:
    """A Deployment's spread constraints over a topology key."""
    return [constraint for constraint in _constraints(deployment) if constraint["topologyKey"] == key]


def _constraints(deployment: Object) -> list[Object]:
    return deployment["spec"].get("template", {}).get("spec", {}).get("topologySpreadConstraints") or []


def tolerations_of(deployment: Object) -> list[Object] | None:
    """A Deployment's tolerations, None without any."""
    return deployment["spec"].get("template", {}).get("spec", {}).get("tolerations") or None


def is_hard(constraint: Mapping[str, Any] | None) -> bool:
    """Whether pods with this constraint wait rather than run elsewhere."""
    return constraint is not None and constraint["whenUnsatisfiable"] == "DoNotSchedule"


def owners_of_tolerations(deployment: Object, manager: str) -> list[list[str]]:
    """``[manager, operation]`` of everybody but ``manager`` who owns a Deployment's tolerations."""
    return [owner for owner in owners_of(deployment, TOLERATIONS) if owner != [manager, "Apply"]]


def with_parts(parts: Mapping[str, Any]) -> Object:
    """A Deployment with nothing but these parts; see :meth:`Placing.state`."""
    domain = [parts["constraints"]] if parts["constraints"] else []
    spec = {"topologySpreadConstraints": [*domain, *(parts["zones"] or [])], "tolerations": parts["tolerations"]}
    return {"spec": {"template": {"spec": spec}}}


@dataclass(frozen=True)
class WayBack:
    """``body`` for server-side apply, None when nothing is to be written; ``after``: the Deployment as it is then.

    ``owners``: ``[manager, operation]`` of those who get the tolerations' ownership back, None when it is not ours.
    ``others``: what stays although the snapshot says otherwise.
    """

    body: Object | None
    after: Object
    owners: list[list[str]] | None
    others: tuple[Difference, ...]


@dataclass(frozen=True)
class Placing:
    """What ``manager`` adds to one Deployment. ``body`` holds that and nothing else, for server-side apply: the hard
    spread over the label ``domains``, the one over zones, and the toleration of ``taints``."""

    body: Object
    domains: str
    taints: Sequence[Mapping[str, str]]
    manager: str

    @property
    def name(self) -> str:
        """The Deployment's name."""
        return name_of(self.body)

    @property
    def zone(self) -> Object:
        """The constraint over zones."""
        (constraint,) = constraints_over(self.body, ZONE)
        return constraint

    @property
    def toleration(self) -> Object:
        """The toleration."""
        (ours,) = tolerations_of(self.body) or []
        return ours

    def state(self, deployment: Object) -> dict[str, Any]:
        """The parts of a Deployment that this is about, JSON: ``constraints`` (one or None), zones, tolerations."""
        domain, zones = constraints_over(deployment, self.domains), constraints_over(deployment, ZONE)
        return {
            "constraints": domain[0] if domain else None,
            "zones": zones or None,
            "tolerations": tolerations_of(deployment),
        }

    def path(self, part: str) -> str:
        """The path under which plan, rollback and proof name a part."""
        return titles(self.domains)[part].format(self.name)

    def differences(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
        """The parts in which two states differ."""
        return tuple(Difference(self.path(p), before[p], after[p]) for p in PARTS if before[p] != after[p])

    def beside(self, live: Object) -> Object:
        """``body`` as it fits beside what others have set in the live Deployment.

        A zone constraint of theirs stays the only one. Tolerations are one value for the API server: theirs are kept in
        it.
        """
        body = copy.deepcopy(self.body)
        spec, state = body["spec"]["template"]["spec"], self.state(live)
        if any(constraint != self.zone for constraint in state["zones"] or []):
            spec["topologySpreadConstraints"].remove(self.zone)
        theirs = [toleration for toleration in state["tolerations"] or [] if toleration != self.toleration]
        if tolerates({"tolerations": theirs}, self.taints):
            del spec["tolerations"]
        else:
            spec["tolerations"] = [*theirs, self.toleration]
        return body

    def beside_parts(self, before: Mapping[str, Any]) -> Object:
        """Like :meth:`beside`, for a Deployment of which the parts are known."""
        return self.beside(with_parts(before))

    def after(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of a Deployment that had the parts ``before``, once it is written."""
        state = self.state(self.beside_parts(before))
        return {part: state[part] or before[part] for part in PARTS}

    def write(self, world: World, live: Object, dry_run: bool = False) -> None:
        """Have the Deployment's pods spread over the domains, and tolerated there."""
        body = self.beside(live)
        shared = len(tolerations_of(body) or []) > 1
        if shared:
            # Tolerations have one owner for the whole list: it is taken over, and handed back by the undo. Nothing else
            # is.
            rest = copy.deepcopy(body)
            del rest["spec"]["template"]["spec"]["tolerations"]
            world.cluster.apply(rest, self.manager, dry_run=True)
        world.cluster.apply(body, self.manager, dry_run=dry_run, force=shared)

    # Back ------------------------------------------------------------------------------------------------------------

    def before(self, now: Mapping[str, Any], snapshot: Mapping[str, Any]) -> dict[str, Any]:
        """The state that a snapshot has, by part and name; of a part that it does not know, all but the lever's own."""
        unknown = {
            "constraints": None,
            "zones": _without(now["zones"], self.zone, None),
            "tolerations": _without(now["tolerations"], self.toleration, None),
        }
        return {part: snapshot.get(part, {}).get(self.name, unknown[part]) for part in PARTS}

    def way_back(self, live: Object, snapshot: Mapping[str, Any]) -> WayBack:
        """What sets a live Deployment back to its state in ``snapshot``, which has its ``toleration_owners`` too."""
        now = self.state(live)
        was, domain = self.before(now, snapshot), now["constraints"]
        if domain not in (was["constraints"], self._domain(domain)) and is_hard(domain):
            # Somebody has made the constraint theirs: its pods still need the pools, and the right to run there.
            return WayBack(None, live, None, self.differences(was, now))
        target = {
            "constraints": was["constraints"] if domain == self._domain(domain) else domain,
            "zones": _without(now["zones"], self.zone, was["zones"]),
            "tolerations": _without(now["tolerations"], self.toleration, was["tolerations"]),
        }
        others = self.differences(was, target)
        if target == now and not self._is_left_over(live, target):
            return WayBack(None, live, None, others)
        known = (snapshot.get("toleration_owners") or {}).get(self.name) or []
        return WayBack(self._body(live, target), self._with(live, target), self._owners(live, target, known), others)

    def unrestored(self, live: Object, snapshot: Mapping[str, Any]) -> tuple[Difference, ...]:
        """What of a live Deployment would still have to be set back."""
        now = self.state(live)
        return self.differences(now, self.before(now, snapshot))

    def _domain(self, live: Mapping[str, Any] | None) -> Object:
        """The lever's own constraint over as many domains as ``live`` has."""
        return constraints_over(self.body, self.domains)[0] | {"minDomains": (live or {}).get("minDomains", 0)}

    def _with(self, live: Object, target: Mapping[str, Any]) -> Object:
        after, wanted = copy.deepcopy(live), with_parts(target)["spec"]["template"]["spec"]
        spec, state = after["spec"]["template"]["spec"], self.state(live)
        mine = (state["constraints"], *(state["zones"] or []))
        rest = [c for c in spec.get("topologySpreadConstraints") or [] if c not in mine]
        spec["topologySpreadConstraints"] = [*wanted["topologySpreadConstraints"], *rest]
        spec["tolerations"] = target["tolerations"] or []
        return after

    def _holds_tolerations(self, live: Object) -> bool:
        return [self.manager, "Apply"] in owners_of(live, TOLERATIONS)

    def _is_left_over(self, live: Object, target: Mapping[str, Any]) -> bool:
        """Whether an attempt that was cut short has left us the owner of tolerations that are somebody else's."""
        return self.toleration not in (target["tolerations"] or []) and self._holds_tolerations(live)

    def _tolerations_stay(self, live: Object, target: Mapping[str, Any]) -> bool:
        # Giving up a list that is ours alone would take the entries of others with it: they are written, and handed
        # back.
        held = self._holds_tolerations(live) or self.toleration in (tolerations_of(live) or [])
        return bool(target["tolerations"]) and held

    def _body(self, live: Object, target: Mapping[str, Any]) -> Object:
        """What is applied: a field that it lacks is given up, and goes unless another manager has claimed it too."""
        domain, now = target["constraints"], self.state(live)["constraints"]
        constraints = [domain] if domain and (domain == self._domain(domain) or domain != now) else []
        constraints += [self.zone] if self.zone in (target["zones"] or []) else []
        spec: Object = {"topologySpreadConstraints": constraints} if constraints else {}
        if self._tolerations_stay(live, target):
            spec["tolerations"] = target["tolerations"]
        return {**self.body, "spec": {"template": {"spec": spec}} if spec else {}}

    def _owners(
        self, live: Object, target: Mapping[str, Any], known: Sequence[Sequence[str]]
    ) -> list[list[str]] | None:
        if not self._tolerations_stay(live, target) or self.toleration in target["tolerations"]:
            return None
        owners = owners_of_tolerations(live, self.manager)
        return [*owners, *(list(owner) for owner in known if list(owner) not in owners)]

    def set_back(self, world: World, back: WayBack) -> None:
        """Write the way back, and give the tolerations to who owned them."""
        if back.body is not None:
            world.target.fence()
            world.cluster.apply(back.body, self.manager, force=back.owners is not None)
        if back.owners is not None:
            give = partial(handed_back, manager=self.manager, given={TOLERATIONS: back.owners})
            hand_back(world, DEPLOYMENT, self.name, world.estate.namespace, give)


def _without(now: list[Object] | None, own: Object, was: list[Object] | None) -> list[Object] | None:
    """The live list without the lever's own entry, unless it was there before."""
    return [entry for entry in now or [] if entry != own or own in (was or [])] or None
