"""What draining the old node group does to pods that are no workload's: who is lost, who finds no other node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from include.levers.nodes import (
    HOST,
    NAME_FIELD,
    ZONE,
    Object,
    Room,
    affinity_terms,
    by_node,
    exclusive_keys,
    holds,
    pod_requests,
    room_of,
    takes_pods,
    tolerates,
    wants,
)
from include.levers.spot_capacity.apply import evictable
from include.levers.spot_capacity.placement import choose_surplus, is_ending
from include.levers.workloads import DO_NOT_DISRUPT, DO_NOT_EVICT, Finding, asks, controller_of

# What a node of any pool carries, whatever its pool says of it.
WELL_KNOWN = ("kubernetes.io/", "node.kubernetes.io/", "topology.kubernetes.io/", "karpenter.sh/", "karpenter.k8s.aws/")
SETTING = "or name them in accept_evictions"


@dataclass(frozen=True)
class Drain:
    """The drain of a node group as it would go now.

    ``moved`` are the pods that it evicts, ``rooms`` the nodes that stay for them, ``pools`` the NodePools of others,
    ``volumes`` the node affinity of each claim's volume by (namespace, claim), where it is known.
    """

    moved: Sequence[Object]
    rooms: Sequence[Room]
    pools: Sequence[Object]
    volumes: Mapping[tuple[str, str], Object]
    staying: Mapping[str, Sequence[Object]]
    zones: Mapping[str, str]


def planned(
    group: Sequence[Object],
    others: Sequence[Object],
    pods: Sequence[Object],
    floor: int,
    pools: Sequence[Object],
    volumes: Mapping[tuple[str, str], Object],
) -> Drain:
    """The drain of ``group`` to ``floor`` nodes. ``others`` are nodes outside that stay, ``pods`` those that are no
    workload's: the workloads' have moved by then.
    """
    running = by_node(pods)
    counts = Counter({node: sum(map(evictable, found)) for node, found in running.items()})
    surplus = {str(node["metadata"]["name"]) for node in choose_surplus(group, counts, floor)}
    moved = [pod for node in sorted(surplus) for pod in running.get(node, ()) if evictable(pod) and not is_ending(pod)]
    stay = [node for node in (*group, *others) if node["metadata"]["name"] not in surplus and takes_pods(node)]
    rooms = [room_of(node, running.get(node["metadata"]["name"], ())) for node in stay]
    zones = {n["metadata"]["name"]: (n["metadata"].get("labels") or {}).get(ZONE, "") for n in group}
    staying = {room.name: running.get(room.name, []) for room in rooms}
    return Drain(moved, rooms, pools, volumes, staying, zones)


def without(drain: Drain, pods: Iterable[Object]) -> Drain:
    """The drain as if these pods were nobody's concern."""
    left_out = {title(pod) for pod in pods}
    return replace(drain, moved=[pod for pod in drain.moved if title(pod) not in left_out])


def lost_findings(pods: Iterable[Object]) -> Iterator[Finding]:
    """Pods that nobody makes anew, and pods that ask to be left where they are."""
    pods = list(pods)
    bare = sorted(title(pod) for pod in pods if controller_of(pod) is None)
    if bare:
        reason = f"no controller would replace {', '.join(bare)}: draining the node group ends them for good"
        yield Finding("pods without a controller", reason, f"let a controller run them, wait until they end, {SETTING}")
    asking = sorted(f"{title(pod)} ({asked})" for pod in pods if (asked := _asks_to_stay(pod)))
    if asking:
        reason = f"{', '.join(asking)} ask not to be evicted: draining the node group would evict them"
        yield Finding("pods that ask to stay", reason, f"wait until they end, remove the annotation, {SETTING}")


def _asks_to_stay(pod: Object) -> str:
    if asks(pod, DO_NOT_DISRUPT, "true"):
        return DO_NOT_DISRUPT
    return f"{DO_NOT_EVICT} false" if asks(pod, DO_NOT_EVICT, "false") else ""


def homeless_findings(drain: Drain) -> Iterator[Finding]:
    """Pods for which no node that stays has room, and no NodePool of others could make one."""
    by_name = {room.name: room for room in drain.rooms}
    taken = {mark for name, pods in drain.staying.items() for pod in pods for mark in _marks(pod, by_name[name])}
    begin: dict[tuple[str, ...], int] = {}  # rooms only get fuller: those that refused a pod refuse its equals too
    homeless = []
    # Those that may go to few nodes choose first.
    for pod in sorted(drain.moved, key=lambda pod: (-len(_terms(drain, pod)), title(pod))):
        kind = _kind_of(drain, pod)
        begin[kind] = _first_room(drain, pod, taken, begin.get(kind, 0))
        if begin[kind] < len(drain.rooms):
            room = drain.rooms[begin[kind]]
            room.take(pod_requests(pod["spec"]))
            taken.update(_marks(pod, room))
        elif not any(_could_make(drain, pod, pool) for pool in drain.pools):
            homeless.append(f"{title(pod)} ({_why(drain, pod)})")
    if homeless:
        reason = f"no other node takes {', '.join(homeless)} once the old nodes are gone"
        remedy = f"raise node_group.floor or give them a NodePool of their own, {SETTING}"
        yield Finding("pods without another node", reason, remedy)


def _kind_of(drain: Drain, pod: Object) -> tuple[str, ...]:
    own = title(pod) if _volumes(drain, pod) else ""
    return (*_who(pod), own)


def _first_room(drain: Drain, pod: Object, taken: set[tuple[str, ...]], begin: int) -> int:
    spec, requests, volumes = pod["spec"], pod_requests(pod["spec"]), _volumes(drain, pod)
    for index in range(begin, len(drain.rooms)):
        room = drain.rooms[index]
        if (
            room.fits(requests)
            and wants(spec, room.labels)
            and tolerates(spec, room.taints)
            and all(any(all(holds(e, room.labels) for e in term) for term in terms) for terms in volumes)
            and not taken & set(_marks(pod, room))
        ):
            return index
    return len(drain.rooms)


def _who(pod: Object) -> tuple[str, str]:
    owner = controller_of(pod) or pod["metadata"]
    return str(pod["metadata"]["namespace"]), str(owner.get("name", ""))


def _marks(pod: Object, room: Room) -> list[tuple[str, ...]]:
    """The places of which a pod and its equals may have one each, by its required anti-affinity."""
    keys = exclusive_keys(pod["spec"], pod["metadata"].get("labels") or {})
    return [(*_who(pod), key, room.labels.get(key, "")) for key in keys]


def _volumes(drain: Drain, pod: Object) -> list[list[list[Object]]]:
    """Where each volume of a pod can be used; one that is not known is taken to be in the zone that the pod is in."""
    found = []
    for volume in pod["spec"].get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is None:
            continue
        zone = drain.zones.get(pod["spec"].get("nodeName", ""), "")
        here = {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]}
        required = drain.volumes.get((str(pod["metadata"]["namespace"]), claim), here)
        if required:
            inner = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
            found.append([[_by_zone(term) for term in terms] for terms in affinity_terms(inner) or []])
    return found


def _by_zone(term: Object) -> Object:
    """Drivers have labels of their own for a zone, which say the same."""
    return {**term, "key": ZONE} if term["key"].endswith("/zone") else term


def _terms(drain: Drain, pod: Object) -> list[Object]:
    """Every expression that says where a pod may be."""
    selector = (pod["spec"].get("nodeSelector") or {}).items()
    exact = [{"key": key, "operator": "In", "values": [value]} for key, value in selector]
    affinity = [term for terms in affinity_terms(pod["spec"]) or [] for term in terms]
    return [*exact, *affinity, *(term for group in _volumes(drain, pod) for terms in group for term in terms)]


def _could_make(drain: Drain, pod: Object, pool: Object) -> bool:
    template = pool["spec"]["template"]
    if not tolerates(pod["spec"], template["spec"].get("taints") or []):
        return False
    labels = (template.get("metadata") or {}).get("labels") or {}
    offered = {key: [value] for key, value in labels.items()}
    for requirement in template["spec"].get("requirements") or []:
        if requirement["operator"] == "In":
            offered[requirement["key"]] = list(requirement["values"])
    return all(_possible(term, offered) for term in _terms(drain, pod))


def _possible(term: Mapping[str, Any], offered: Mapping[str, Sequence[str]]) -> bool:
    key = str(term["key"])
    if key in offered:
        return any(holds(term, {key: value}) for value in offered[key])
    if key in (HOST, NAME_FIELD):
        return bool(term["operator"] != "In")  # a new node has a new name
    return key.startswith(WELL_KNOWN) or holds(term, {})


def _why(drain: Drain, pod: Object) -> str:
    for term in _terms(drain, pod):
        if not any(holds(term, room.labels) for room in drain.rooms):
            return f"needs {term['key']} {term['operator']} {', '.join(map(str, term.get('values') or []))}".rstrip()
    return f"now on {pod['spec'].get('nodeName')}"


def split(pods: Iterable[Object], accepted: Sequence[str]) -> tuple[list[Object], list[Object]]:
    """The pods that none of the patterns ``namespace/name`` accepts, and those that one does."""
    refused: list[Object] = []
    agreed: list[Object] = []
    for pod in pods:
        (agreed if any(fnmatchcase(title(pod), pattern) for pattern in accepted) else refused).append(pod)
    return refused, agreed


def title(pod: Object) -> str:
    """``namespace/name``."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
