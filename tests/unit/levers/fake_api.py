"""An API server in memory below the real client: what a lever's test goes through is the client of production.

It answers at the level of ``ApiClient.call_api``, and as a real one does where a lever could tell the difference:
items of a list carry neither kind nor apiVersion, server-side apply keeps ``managedFields`` (lists with keys item by
item, other lists as a whole), a name that is absent is another 404 than a kind that is not served, a Namespace takes
its time to go, dependants go after their owner, and empty fields that Go omits are omitted.
"""

from __future__ import annotations

import bisect
import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from urllib3.exceptions import ReadTimeoutError

from include.clients.kubernetes import KINDS, Kind
from tests.unit.levers.fake_answers import (
    VERBS,
    Stream,
    conflict,
    described,
    event_for,
    is_going,
    refusal,
    selected,
    unknown_path,
)
from tests.unit.levers.fake_fields import (
    IDENTITY,
    drop_at,
    fields_v1,
    is_empty,
    is_key,
    json_patch,
    leaves,
    merge,
    paths_of,
    put_at,
    without_empty,
)
from tests.unit.levers.fake_resize import refuse_resize, resized

Object = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace ("" without), name
Path = tuple[str, ...]  # steps as in fieldsV1: f:spec, k:{"name":"a"}, v:"x"

APPS, BATCH = "apps/v1", "batch/v1"
OTHER_KINDS = (
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "Event", "events"),
    Kind("v1", "Endpoints", "endpoints"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind(APPS, "ReplicaSet", "replicasets"),
    Kind(APPS, "StatefulSet", "statefulsets"),
    Kind(APPS, "DaemonSet", "daemonsets"),
    Kind(BATCH, "Job", "jobs"),
    Kind(BATCH, "CronJob", "cronjobs"),
    Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)
EVERY_KIND = {kind.name: kind for kind in (*OTHER_KINDS, *KINDS.values())}
STAMP = "2027-01-15T07:59:50Z"


class FakeApi:
    """The objects by kind, namespace and name, and the verbs of an API server on them.

    ``objects`` may be changed directly: a controller's work. ``tick`` passes time while a watch is open.
    """

    def __init__(self, writes: list[str], tick: Callable[[float], None]) -> None:
        self.writes, self.tick = writes, tick
        self.configuration = SimpleNamespace(host="https://cluster.example")
        self.objects: dict[Key, Object] = {}
        self.unserved: set[str] = set()  # plurals without a definition
        self.forbidden: set[tuple[str, str]] = set()  # (verb, plural)
        self.stale: set[str] = set()  # groups whose discovery is not known now
        self.expired = 0  # so many tokens of a list have expired
        self.away = 0  # so many requests find no server
        self.direct = True  # objects may be changed by others than this API
        self._chosen: tuple[Any, list[Key]] = (None, [])  # the keys of the newest list, for its next page
        self.requests: list[tuple[str, str]] = []
        self.sent = 0  # bytes of all answers
        self.version = 1
        self.oldest = 0  # versions before are forgotten
        self.log: list[tuple[int, str, Key, Object, Object | None]] = []
        self._seen: dict[Key, Object] = {}
        self._versions: dict[Key, int] = {}
        self._uids: dict[Key, str] = {}

    # What ApiClient does -----------------------------------------------------------------------------------------

    def call_api(
        self,
        path: str,
        method: str,
        query_params: list[tuple[str, str]],
        header_params: Mapping[str, str],
        body: Any = None,
        **_: Any,
    ) -> Any:
        """One request; answers like ``urllib3``."""
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("connection refused")
        self.notice()
        query = dict(query_params)
        self.requests.append((f"{method}{' watch' if query.get('watch') else ''}", path))
        if path == "/version":
            return self._answer({"gitVersion": "v1.36.3"})
        if path in ("/api", "/apis") or re.fullmatch(r"/api/v1|/apis/[^/]+/[^/]+", path):
            return self._answer(self._discovery(path))
        kind, namespace, name, sub = self._resource(path)
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update"}.get(method, method.lower())
        verb = "watch" if query.get("watch") else verb
        if (verb, kind.plural) in self.forbidden:
            raise refusal(403, f'{kind.plural} is forbidden: User "akidb" cannot {verb} resource', "Forbidden")
        if method == "GET" and query.get("watch"):
            return Stream(lambda stream: self._watch(kind, namespace, query, stream))
        if method == "GET" and not name:
            return self._answer(self._list(kind, namespace, query, "PartialObject" in header_params["Accept"]))
        key = (kind.name, namespace if kind.namespaced else "", name or (body or {}).get("metadata", {}).get("name"))
        if method == "GET":
            return self._answer(self.read(key))
        if sub == "eviction":
            return self._answer(self._evict(key))
        if sub == "resize":
            return self._answer(self._resize(key, body, query.get("fieldManager", "unknown")))
        return self._answer(self._write(method, kind, key, query, header_params["Content-Type"], body))

    def _answer(self, body: Object) -> Any:
        data = json.dumps(body).encode()
        self.sent += len(data)
        return SimpleNamespace(data=data)

    def _resource(self, path: str) -> tuple[Kind, str, str, str]:
        found = re.fullmatch(
            r"/(?:api|apis)/((?:[^/]+/)?v[^/]+)(?:/namespaces/([^/]+)(?=/[^/]+))?/([^/]+)(?:/([^/]+))?(?:/([^/]+))?",
            path,
        )
        kinds = [k for k in EVERY_KIND.values() if found and (k.api_version, k.plural) == (found[1], found[3])]
        if not found or not kinds or kinds[0].plural in self.unserved:
            raise unknown_path()
        return kinds[0], found[2] or "", found[4] or "", found[5] or ""

    # Reading -----------------------------------------------------------------------------------------------------

    def notice(self) -> None:
        """Give every object that a controller or a test has changed directly its new version."""
        if not self.direct:
            return
        for key, thing in self.objects.items():
            if self._seen.get(key) != thing:
                self._record("MODIFIED" if key in self._seen else "ADDED", key, thing)
        for key in [key for key in self._seen if key not in self.objects]:
            self._record("DELETED", key, self._seen[key])
            del self._seen[key]

    def changed(self, key: Key) -> None:
        """Give one object its new version, where nobody compares them all (``direct`` is off)."""
        self._record("MODIFIED" if key in self._seen else "ADDED", key, self.objects[key])

    def _record(self, event: str, key: Key, thing: Object) -> None:
        self.version += 1
        if event == "ADDED":
            self._uids[key] = f"uid-{self.version}"
        self._versions[key] = self.version
        before = self._seen.get(key)
        if event != "DELETED":
            self._seen[key] = copy.deepcopy(thing)
        self.log.append((self.version, event, key, self._stored(key, thing), before))

    def _stored(self, key: Key, thing: Object) -> Object:
        metadata = thing["metadata"] | {"resourceVersion": str(self._versions[key]), "uid": self._uids[key]}
        kind = EVERY_KIND[key[0]]
        return {**thing, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}

    def read(self, key: Key) -> Object:
        """One object as the server shows it."""
        if key not in self.objects:
            plural = EVERY_KIND[key[0]].plural
            raise refusal(404, f'{plural} "{key[2]}" not found', "NotFound", name=key[2], kind=plural)
        self.notice()
        return copy.deepcopy(self._stored(key, self.objects[key]))

    def _list(self, kind: Kind, namespace: str, query: Mapping[str, str], partial: bool) -> Object:
        token = json.loads(query.get("continue") or "[0]")
        if len(token) > 1 and self.expired:
            self.expired -= 1
            raise refusal(410, "The provided continue parameter is too old", "Expired")
        asked = (self.version, kind, namespace, query.get("labelSelector"), query.get("fieldSelector"))
        if self._chosen[0] != asked:
            keys = [k for k in self.objects if k[0] == kind.name and namespace in ("", k[1])]
            self._chosen = (asked, [k for k in keys if selected(self.objects[k], query)])
        chosen = self._chosen[1]
        limit = int(query.get("limit") or len(chosen) or 1)
        shown = chosen[token[0] : token[0] + limit]
        metadata: Object = {"resourceVersion": str(self.version)}
        if token[0] + limit < len(chosen):
            metadata["continue"] = json.dumps([token[0] + limit, self.version])
        items: list[Object] | None = [self._item(key, partial) for key in shown]
        if partial and not items:
            items = None  # an API server's answer of metadata alone has null there
        return {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": metadata, "items": items}

    def _item(self, key: Key, partial: bool) -> Object:
        stored = self._stored(key, self.objects[key])
        if partial:
            return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": stored["metadata"]}
        custom = "." in EVERY_KIND[key[0]].api_version and not re.search(r"\.k8s\.io/|^policy", stored["apiVersion"])
        return stored if custom else {k: v for k, v in stored.items() if k not in ("apiVersion", "kind")}

    def _watch(self, kind: Kind, namespace: str, query: Mapping[str, str], stream: Stream) -> Iterator[bytes]:
        version = int(query.get("resourceVersion") or 0)
        if version and version < self.oldest:
            yield self._line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
            return
        if not version:
            version = self.version
            for key in [k for k in self.objects if k[0] == kind.name and namespace in ("", k[1])]:
                if selected(self.objects[key], query):
                    yield self._line("ADDED", self._stored(key, self.objects[key]))
        left, quiet = float(query["timeoutSeconds"]), 0.0
        while True:
            for at, event, key, thing, before in self._since(version):
                version = at
                told = event_for(event, thing, before, query)
                if key[0] == kind.name and namespace in ("", key[1]) and told:
                    quiet = 0.0
                    yield self._line(told, thing)
            if left <= 0:
                return
            if quiet >= stream.silence:
                raise ReadTimeoutError(None, "/", "Read timed out.")  # type: ignore[arg-type]
            step = min(1.0, left, stream.silence - quiet)
            self.tick(step)
            left, quiet = left - step, quiet + step
            self.notice()

    def _since(self, version: int) -> list[tuple[int, str, Key, Object, Object | None]]:
        first = bisect.bisect_right(self.log, version, key=lambda entry: entry[0])
        return self.log[first:]

    def _line(self, event: str, thing: Object) -> bytes:
        line = json.dumps({"type": event, "object": thing}).encode()
        self.sent += len(line)
        return line

    def _discovery(self, path: str) -> Object:
        served = [kind for kind in EVERY_KIND.values() if kind.plural not in self.unserved]
        if path in ("/api", "/apis"):
            groups: dict[str, dict[str, list[Kind]]] = {}
            for kind in served:
                group, _, version = kind.api_version.rpartition("/")
                if bool(group) == (path == "/apis"):
                    groups.setdefault(group, {}).setdefault(version, []).append(kind)
            return {"kind": "APIGroupDiscoveryList", "items": [self._group(g, v) for g, v in groups.items()]}
        api_version = path.split("/", 2)[2]
        found = [kind for kind in served if kind.api_version == api_version]
        if not found:
            raise unknown_path()
        resources = [{"name": k.plural, "kind": k.name, "namespaced": k.namespaced, "verbs": VERBS} for k in found]
        return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}

    def _group(self, group: str, versions: Mapping[str, list[Kind]]) -> Object:
        freshness = "Stale" if group in self.stale else "Current"
        told = [
            {
                "version": v,
                "freshness": freshness,
                "resources": [] if group in self.stale else [described(k) for k in ks],
            }
            for v, ks in versions.items()
        ]
        return {"metadata": {"name": group} if group else {}, "versions": told}

    # Writing -----------------------------------------------------------------------------------------------------

    def _write(self, method: str, kind: Kind, key: Key, query: Mapping[str, str], media: str, body: Any) -> Object:
        if method == "DELETE":
            return self._delete(key)
        found = self.objects.get(key)
        apply = media == "application/apply-patch+yaml"
        if found is None and method != "POST" and not apply:
            return self.read(key)  # raises 404
        if found is not None and method == "POST":
            raise refusal(409, f'{kind.plural} "{key[2]}" already exists', "AlreadyExists", name=key[2])
        self._check_namespace(kind, key)
        changed = copy.deepcopy(found) if found else {"metadata": {"managedFields": []}}
        manager = query.get("fieldManager", "unknown")
        if apply:
            self._apply(changed, body, manager, query.get("force") == "true")
            text = f"apply {kind.name}/{key[2]}"
        else:
            text = self._update(method, key, changed, body, manager, media)
        if found is None:
            self.admit(key, changed)
        shown = without_empty(changed)
        if query.get("dryRun"):
            return shown | {"apiVersion": kind.api_version, "kind": kind.name}
        self._keep(key, found, shown)
        self.notice()
        answer = self.read(key)
        self.writes.append(text)
        return answer

    def _keep(self, key: Key, found: Object | None, changed: Object) -> None:
        if "spec" in changed and (found is None or found.get("spec") != changed["spec"]):
            changed["metadata"]["generation"] = (found or {"metadata": {}})["metadata"].get("generation", 0) + 1
        changed.pop("apiVersion", None)
        changed["kind"] = key[0]
        if found is None:
            self.objects[key] = changed
        else:  # the same object, as tests hold on to it
            found.clear()
            found.update(changed)

    def _check_namespace(self, kind: Kind, key: Key) -> None:
        if not kind.namespaced:
            return
        space = self.objects.get(("Namespace", "", key[1]))
        if space is None and not any(k[1] == key[1] for k in self.objects):
            raise refusal(404, f'namespaces "{key[1]}" not found', "NotFound", name=key[1], kind="namespaces")
        if space and "deletionTimestamp" in space["metadata"] and key not in self.objects:
            raise refusal(403, f"{key[2]} is forbidden: namespace {key[1]} is being terminated", "Forbidden")

    def _apply(self, live: Object, body: Object, manager: str, force: bool) -> None:
        wanted = {path: value for path, value in leaves(without_empty(body)).items() if path not in IDENTITY}
        entries = live["metadata"].setdefault("managedFields", [])
        held = {id(e): paths_of(e.get("fieldsV1") or {}) for e in entries}
        mine = [e for e in entries if e["manager"] == manager and e.get("operation", "Apply") == "Apply"]
        others = [e for e in entries if e not in mine and not e.get("subresource")]
        present = leaves(live)
        conflicts = [
            (path, e["manager"])
            for e in others
            for path in sorted(held[id(e)] & set(wanted))
            if not path[-1].startswith("k:") and not is_empty(path[-1][2:], wanted[path])
            if present.get(path) != wanted[path]
        ]
        if conflicts and not force:
            raise conflict(conflicts, body["apiVersion"])
        for e in others:
            left = held[id(e)] - {path for path, name in conflicts if name == e["manager"]}
            e["fieldsV1"] = fields_v1(left)
        before = set().union(*(held[id(e)] for e in mine)) if mine else set()
        theirs = set().union(*(paths_of(e["fieldsV1"]) for e in others)) if others else set()
        for path in sorted(before - set(wanted), key=len):  # an item before its fields
            if not is_key(path) and not any(other[: len(path)] == path for other in theirs | set(wanted)):
                drop_at(live, path)
        for path, value in wanted.items():
            put_at(live, path, value)
        for field in ("name", "namespace"):
            if field in body["metadata"]:
                live["metadata"][field] = body["metadata"][field]
        entry = {"manager": manager, "operation": "Apply", "apiVersion": body["apiVersion"], "time": STAMP}
        kept = [e for e in entries if e not in mine and e["fieldsV1"]]
        new = [entry | {"fieldsType": "FieldsV1", "fieldsV1": fields_v1(set(wanted))}] if wanted else []
        live["metadata"]["managedFields"] = kept + new

    def _update(self, method: str, key: Key, live: Object, body: Any, manager: str, media: str) -> str:
        before = leaves({k: v for k, v in live.items() if k != "status"})
        if method in ("PUT", "POST"):
            version = body["metadata"].get("resourceVersion")
            if version and method == "PUT" and version != str(self._versions[key]):
                raise refusal(409, f"{key[2]}: the object has been modified", "Conflict", name=key[2])
            entries = live["metadata"].get("managedFields", [])
            live.clear()
            live.update(copy.deepcopy(body))
            for field in ("resourceVersion", "uid"):
                live["metadata"].pop(field, None)
            live["metadata"]["managedFields"] = entries
        elif media == "application/json-patch+json":
            # A test of the version is the way to be refused when somebody else was faster.
            live["metadata"] |= {"resourceVersion": str(self._versions[key]), "uid": self._uids[key]}
            json_patch(live, body)
            for field in ("resourceVersion", "uid"):
                live["metadata"].pop(field, None)
        else:
            version = body.get("metadata", {}).get("resourceVersion")
            if version and version != str(self._versions[key]):
                raise refusal(409, f"{key[2]}: the object has been modified", "Conflict", name=key[2])
            merge(live, body)
            live["metadata"].pop("resourceVersion", None)
        self._took(live, before, manager)
        verb = {"POST": "create", "PUT": "replace", "PATCH": "patch"}[method]
        shown = (
            f" {json.dumps(body['spec'])}" if method == "PATCH" and isinstance(body, dict) and "spec" in body else ""
        )
        return f"{verb} {key[0]}/{key[2]}{shown}"

    def _took(self, live: Object, before: Mapping[Path, Any], manager: str) -> None:
        """The fields that a write without server-side apply has changed belong to its manager from then on."""
        after = leaves({k: v for k, v in live.items() if k != "status"})
        unowned = ("f:managedFields", "f:resourceVersion", "f:uid", "f:generation")
        changed = {
            path
            for path in {*before, *after}
            if path not in IDENTITY and before.get(path, before) != after.get(path, after)
            if not (len(path) > 1 and path[1] in unowned)
        }
        entries = live["metadata"].setdefault("managedFields", [])
        for e in entries:
            if not e.get("subresource"):
                e["fieldsV1"] = fields_v1(paths_of(e.get("fieldsV1") or {}) - changed)
        mine = next((e for e in entries if (e["manager"], e.get("operation")) == (manager, "Update")), None)
        if mine is None:
            mine = {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}}
            entries.append(mine)
        mine["fieldsV1"] = fields_v1(paths_of(mine["fieldsV1"]) | {p for p in changed if p in after})
        live["metadata"]["managedFields"] = [e for e in entries if e["fieldsV1"]]

    def _delete(self, key: Key) -> Object:
        thing = self.objects.get(key)
        if thing is None:
            return self.read(key)  # raises 404
        if key[0] == "Namespace" or thing["metadata"].get("finalizers"):
            if "deletionTimestamp" not in thing["metadata"]:
                thing["metadata"]["deletionTimestamp"] = STAMP
        else:
            del self.objects[key]
        self.notice()
        self.writes.append(f"delete {key[0]}/{key[2]}")
        return {"kind": "Status", "status": "Success"}

    def admit(self, key: Key, body: Object) -> None:
        """What mutating webhooks do to an object that is made, in a dry run too; set by a world."""

    def _resize(self, key: Key, body: Object, manager: str) -> Object:
        """The subresource: refused beyond the node, for another QoS class, and without resources in the status."""
        self.read(key)
        pod = self.objects[key]
        refuse_resize(pod, body, self.objects.get(("Node", "", pod["spec"].get("nodeName", ""))))
        before = leaves({k: v for k, v in pod.items() if k != "status"})
        pod["spec"] = resized(pod["spec"], body)
        self._took(pod, before, manager)
        self.notice()
        self.writes.append(f"resize {key[2]}")
        return self.read(key)

    def may_evict(self, key: Key) -> bool:
        """Whether the budgets have room; set by a world."""
        return key in self.objects

    def evicted(self, key: Key) -> None:
        """What becomes of a pod whose eviction was allowed; set by a world."""
        del self.objects[key]

    def _evict(self, key: Key) -> Object:
        self.read(key)
        if not self.may_evict(key):
            self.writes.append(f"evict {key[2]} blocked")
            raise refusal(429, "Cannot evict pod as it would violate the pod's disruption budget.", "TooManyRequests")
        self.evicted(key)
        self.writes.append(f"evict {key[2]}")
        return {"kind": "Status", "status": "Success"}

    # Controllers -------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Namespaces that are going take what they hold with them, and dependants follow their owner."""
        going = {key[2] for key, o in self.objects.items() if key[0] == "Namespace" and is_going(o)}
        for key in [k for k in self.objects if k[1] in going or (k[0] == "Namespace" and k[2] in going)]:
            if key in self.objects:
                del self.objects[key]
        for key in [k for k, o in self.objects.items() if self._is_orphan(k, o)]:
            del self.objects[key]

    def _is_orphan(self, key: Key, thing: Object) -> bool:
        owners = [o for o in thing["metadata"].get("ownerReferences") or [] if o.get("uid", "").startswith("uid-")]
        return bool(owners) and not any(o["uid"] in self._uids.values() and self._stands(o, key[1]) for o in owners)

    def _stands(self, owner: Mapping[str, Any], space: str) -> bool:
        return any((owner["kind"], where, owner["name"]) in self.objects for where in (space, ""))
