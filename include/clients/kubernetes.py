"""A thin client for one Kubernetes cluster: objects are plain dictionaries, errors say what to do.

Built on the official client's ``ApiClient`` (addresses, TLS, credentials) without its generated models: server-side
apply, custom resources, eviction and watches all fit in a few verbs. Reads and idempotent writes survive an API server
that is away for less than ``patience`` seconds.
"""

from __future__ import annotations

import builtins
import contextvars
import functools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.views import READ_AGAIN, View

Object = dict[str, Any]
PAGE = 500  # objects in one answer to a list request
LIST_ATTEMPTS = 3  # at a list whose version is forgotten before its last page
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
SILENCE = 0.1  # seconds without an event after which a watch has told what it knew
FOLLOWED = 8  # views of one wait that are kept current; more of them are quicker read again
STARTING_SECONDS = 20.0  # how long after an outage a refusal may still be the API server starting
TIMEOUT = (5.0, 30.0)  # seconds to connect, seconds between two bytes


class KubernetesError(RuntimeError):
    """The cluster refused or failed; the message names the cluster, the request and the remedy."""


class UnreachableError(KubernetesError):
    """No answer from the API server within the client's patience."""


class CredentialsError(KubernetesError):
    """The API server does not accept the credentials (401)."""


class ForbiddenError(KubernetesError):
    """The credentials lack a right (403)."""


class NotServedError(KubernetesError):
    """The API server doesn't know the resource: its CustomResourceDefinition is missing."""


class NotFoundError(KubernetesError):
    """The object does not exist."""


class InvalidError(KubernetesError):
    """The API server rejects the object (400, 422)."""


class ConflictError(KubernetesError):
    """The object exists already, has changed since it was read, or a field belongs to another manager.

    ``owners`` maps each conflicting field to the manager that owns it; empty for the other two cases.
    """

    def __init__(self, message: str, owners: Mapping[str, str]) -> None:
        super().__init__(message)
        self.owners = dict(owners)


class TimedOutError(KubernetesError):
    """A wait ended before its condition held; ``missing`` says what was still missing."""

    def __init__(self, missing: Sequence[str], seconds: float) -> None:
        super().__init__(f"not reached within {seconds:.0f} s: {'; '.join(missing)}")
        self.missing = tuple(missing)


@dataclass(frozen=True)
class Kind:
    """A resource of the API: ``Kind("apps/v1", "Deployment", "deployments")``."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, an object or its subresource."""
        root = "/apis" if "/" in self.api_version else "/api"
        parts = [root, self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])


POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets")
JOB = Kind("batch/v1", "Job", "jobs")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
NODE_POOL = Kind("karpenter.sh/v1", "NodePool", "nodepools", namespaced=False)
NODE_CLAIM = Kind("karpenter.sh/v1", "NodeClaim", "nodeclaims", namespaced=False)
EC2_NODE_CLASS = Kind("karpenter.k8s.aws/v1", "EC2NodeClass", "ec2nodeclasses", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
RBAC = "rbac.authorization.k8s.io/v1"
CLUSTER_ROLE = Kind(RBAC, "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Kind(RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
VERTICAL_AUTOSCALER = Kind("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "verticalpodautoscalers")
API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService", "apiservices", namespaced=False)
KINDS = {
    kind.name: kind
    for kind in (
        POD,
        NODE,
        CONFIG_MAP,
        DEPLOYMENT,
        REPLICA_SET,
        STATEFUL_SET,
        DAEMON_SET,
        JOB,
        CRON_JOB,
        VOLUME,
        VOLUME_CLAIM,
        RESOURCE_QUOTA,
        DISRUPTION_BUDGET,
        LEASE,
        NODE_POOL,
        NODE_CLAIM,
        EC2_NODE_CLASS,
        NAMESPACE,
        SERVICE,
        SERVICE_ACCOUNT,
        CLUSTER_ROLE,
        CLUSTER_ROLE_BINDING,
        PROMETHEUS_RULE,
        SCALED_OBJECT,
        AUTOSCALER,
        VERTICAL_AUTOSCALER,
        API_SERVICE,
    )
}


class Cluster:
    """One cluster. ``api_client`` is a configured ``kubernetes.client.ApiClient``; ``patience`` is in seconds."""

    def __init__(
        self,
        api_client: Any,
        name: str = "",
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api_client
        self.name = name or str(api_client.configuration.host)
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._away_at: float | None = None  # when the API server was last out of reach

    def version(self) -> str:
        """The server's version, such as ``v1.36.3``; fails at once when the cluster can't be reached."""
        return str(self._call("GET", "/version", patience=0)["gitVersion"])

    def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the resource; its right to list it is not needed."""
        root = "/apis" if "/" in kind.api_version else "/api"
        try:
            known = self._call("GET", f"{root}/{kind.api_version}")
        except NotServedError:
            return False
        return any(resource["name"] == kind.plural for resource in known["resources"])

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when it doesn't exist. Raises NotServedError without the kind's definition."""
        try:
            return self._call("GET", kind.path(namespace, name), kind=kind)
        except NotFoundError:
            return None

    def namespaced_kinds(self) -> builtins.list[Kind]:
        """Every kind whose objects stand in a Namespace and go with it, in the preferred version of its group.

        Raises UnreachableError for a group whose server does not answer now: what it keeps is not known.
        """
        return [kind for root in ("/api", "/apis") for kind in self._discovered(root)]

    def _discovered(self, root: str) -> builtins.list[Kind]:
        groups = self._call("GET", root, accept=DISCOVERY)
        if groups.get("kind") != "APIGroupDiscoveryList":
            raise KubernetesError(
                f"cluster {self.name} has no aggregated discovery: Kubernetes 1.27 or newer is needed"
            )
        found: dict[tuple[str, str], Kind] = {}
        for group in groups["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                if version.get("freshness") == "Stale":
                    raise UnreachableError(
                        f"cluster {self.name}: the server of the API group {name} does not answer: see kubectl get "
                        "apiservices"
                    )
                for kind in _that_go_with_a_namespace(name, version):
                    found.setdefault((name, kind.plural), kind)
        return [*found.values()]

    def list(
        self, kind: Kind, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> builtins.list[Object]:
        """All objects that match the label and field selectors, in every namespace when none is given.

        Each says its apiVersion and kind as one of ``get`` does; in a list of the API server they stand once, outside.
        """
        views = _VIEWS.get()
        if views is not None and views.cluster is self:
            return views.of(kind, namespace, labels, fields).objects()
        return _items(kind, self._pages(kind, namespace, labels, fields))

    def list_metadata(self, kind: Kind, namespace: str | None = None) -> builtins.list[Object]:
        """All objects with nothing but their metadata: no content of a Secret, for one, is sent."""
        return _items(kind, self._pages(kind, namespace, "", "", METADATA))

    def _pages(
        self, kind: Kind, namespace: str | None, labels: str, fields: str, accept: str = "application/json"
    ) -> builtins.list[Object]:
        """Every page of a list as of one version; read anew when that version is forgotten before the last page."""
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        for _ in range(LIST_ATTEMPTS):
            pages: builtins.list[Object] = []
            token = ""
            try:
                while token or not pages:
                    pages.append(self._page(kind, namespace, query | {"continue": token}, accept))
                    token = pages[-1]["metadata"].get("continue") or ""
            except _ExpiredError:
                continue
            return pages
        # As of no version at all, but in one answer.
        return [self._page(kind, namespace, query | {"limit": ""}, accept)]

    def _page(self, kind: Kind, namespace: str | None, query: Mapping[str, str], accept: str) -> Object:
        page = self._call("GET", kind.path(namespace), kind, query, accept=accept)
        page["items"] = page["items"] or []  # of metadata alone, an API server says null for none
        return page

    def create(self, body: Object) -> Object:
        """Create the object. Raises ConflictError when it exists."""
        kind, namespace, _ = _identity(body)
        return self._call("POST", kind.path(namespace), kind=kind, body=body, patience=0)

    def replace(self, body: Object) -> Object:
        """Replace the object; with a resourceVersion in it, only if it hasn't changed (else ConflictError)."""
        kind, namespace, name = _identity(body)
        return self._call("PUT", kind.path(namespace, name), kind=kind, body=body, patience=0)

    def apply(self, body: Object, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply as field manager ``manager``; without ``force`` a conflict names the owner of the field."""
        kind, namespace, name = _identity(body)
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = kind.path(namespace, name)
        return self._call("PATCH", path, kind=kind, query=query, body=body, media="application/apply-patch+yaml")

    def patch(
        self,
        kind: Kind,
        name: str,
        patch: Object | builtins.list[Object],
        namespace: str | None = None,
        manager: str | None = None,
    ) -> Object:
        """A merge patch (a dictionary) or a JSON patch (a list of operations)."""
        media = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
        query = {"fieldManager": manager} if manager else {}
        return self._call("PATCH", kind.path(namespace, name), kind=kind, query=query, body=patch, media=media)

    def delete(self, kind: Kind, name: str, namespace: str | None = None) -> bool:
        """Ask for the object's deletion, dependants in the background; False when it was gone already."""
        try:
            body = {"propagationPolicy": "Background"}
            self._call("DELETE", kind.path(namespace, name), kind=kind, body=body)
        except NotFoundError:
            return False
        return True

    def evict(self, pod: str, namespace: str) -> bool:
        """Evict a pod; False when a PodDisruptionBudget doesn't allow it now. A pod that is gone counts as evicted."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        try:
            self._call("POST", POD.path(namespace, pod, "eviction"), kind=POD, body=body)
        except NotFoundError:
            return True
        except _BlockedError:
            return False
        return True

    def watch(
        self,
        kind: Kind,
        timeout: float,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        version: str = "",
    ) -> Iterator[tuple[str, Object]]:
        """``(type, object)`` of each change within ``timeout`` seconds; type is ADDED, MODIFIED or DELETED.

        Without ``version`` the existing objects come first, as ADDED. A lost or expired stream is opened anew, and
        then the existing objects come again.
        """
        from urllib3.exceptions import HTTPError

        end = self._clock() + timeout
        while (left := end - self._clock()) > 0:
            query = {"watch": "true", "timeoutSeconds": str(max(1, round(left))), "resourceVersion": version}
            query |= {"labelSelector": labels, "fieldSelector": fields}
            version = ""
            try:
                stream = self._open(kind.path(namespace), kind, query, left)
            except _ExpiredError:
                continue
            try:
                for line in stream:
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # 410: the version is too old
                        break
                    yield event["type"], event["object"]
                    if self._clock() >= end:
                        return
            except (HTTPError, OSError, json.JSONDecodeError):
                pass  # the connection broke: the loop opens a new one
            finally:
                stream.close()
            self._sleep(min(_pause(0), max(0.0, end - self._clock())))

    def wait_for(
        self,
        missing: Callable[[], Sequence[str]],
        timeout: float,
        kind: Kind = POD,
        namespace: str | None = None,
        labels: str = "",
        recheck: float = 3.0,
    ) -> float:
        """Wait until ``missing()`` is empty; returns the seconds waited. Raises TimedOutError with what is missing.

        ``missing`` is asked again after each change of a ``kind``, and every ``recheck`` seconds for what that kind
        doesn't show. What it lists is read once and then kept current by watches; that nothing is missing any more is
        seen in the API server's own answer. An API server that is away costs time only, up to ``timeout``.
        """
        start = self._clock()
        views = _Views(self)
        left: Sequence[str] = ("the API server has not answered",)
        while True:
            changed = ""
            try:
                changed = "" if views.first(kind, namespace) else self._latest(kind, namespace)
                left = self._looked_at(missing, views)
                if not left:
                    return self._clock() - start
            except UnreachableError as error:
                left = (str(error),)
            remaining = timeout - (self._clock() - start)
            if remaining <= 0:
                raise TimedOutError(left, timeout)
            self._await_change(views, kind, namespace, labels, changed, min(recheck, remaining))

    def _looked_at(self, missing: Callable[[], Sequence[str]], views: _Views) -> Sequence[str]:
        seen_before = bool(views)
        token = _VIEWS.set(views)
        try:
            left = missing()
        finally:
            _VIEWS.reset(token)
        # A view is a moment behind; what was read in this very look is not.
        return missing() if seen_before and not left else left

    def _await_change(
        self, views: _Views, kind: Kind, namespace: str | None, labels: str, version: str, seconds: float
    ) -> None:
        try:
            view = views.first(kind, namespace)
            if view:
                self._follow(view, seconds, seconds, until_change=True)
            elif version:
                for _ in self._changes(kind, namespace, labels, "", version, seconds, seconds):
                    break
            else:
                self._sleep(_pause(0))
            # Changes come in bursts: looking again after each one would keep the API server busy.
            self._sleep(min(0.2, seconds))
            for number, view in enumerate(views):
                if number < FOLLOWED:
                    self._follow(view, 1.0, SILENCE)
                else:
                    view.forget()
        except UnreachableError:
            return

    def _follow(self, view: View, seconds: float, silence: float, until_change: bool = False) -> None:
        try:
            view.follow(seconds, silence, until_change)
        except (ForbiddenError, NotServedError):
            # Without the right to watch it is read at each look; without a definition the next look says so.
            view.forget()
            self._sleep(silence)

    def _changes(
        self,
        kind: Kind,
        namespace: str | None,
        labels: str,
        fields: str,
        version: str,
        seconds: float,
        silence: float,
    ) -> Iterator[tuple[str, Object]]:
        """Events after ``version`` for at most ``seconds``; the end once nothing has come for ``silence`` seconds."""
        from urllib3.exceptions import HTTPError

        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        query |= {"timeoutSeconds": str(max(1, round(seconds))), "labelSelector": labels, "fieldSelector": fields}
        try:
            stream = self._open(kind.path(namespace), kind, query, seconds)
        except _ExpiredError:
            yield READ_AGAIN, {}
            return
        try:
            # The request itself may take its time; what it has to say is then there at once.
            socket = getattr(getattr(stream, "connection", None), "sock", None)
            if socket is not None:
                socket.settimeout(silence)
            for line in stream:
                event = json.loads(line)
                yield event["type"], event["object"]
        except (HTTPError, OSError, json.JSONDecodeError):
            pass  # silence, or a connection that broke: the next look goes on from the last version
        finally:
            stream.close()

    def view(self, kind: Kind, namespace: str | None, labels: str = "", fields: str = "") -> View:
        """A list that can be kept current."""

        def read() -> tuple[builtins.list[Object], str]:
            pages = self._pages(kind, namespace, labels, fields)
            return _items(kind, pages), str(pages[0]["metadata"]["resourceVersion"])

        return View(read, functools.partial(self._changes, kind, namespace, labels, fields))

    def _latest(self, kind: Kind, namespace: str | None) -> str:
        page = self._call("GET", kind.path(namespace), kind=kind, query={"limit": "1"})
        return str(page["metadata"]["resourceVersion"])

    def _open(self, path: str, kind: Kind, query: Mapping[str, str], seconds: float) -> Any:
        return self._send("GET", path, kind, query, None, None, self._patience, (TIMEOUT[0], seconds + TIMEOUT[0]))

    def _call(
        self,
        method: str,
        path: str,
        kind: Kind | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        media: str | None = None,
        patience: float | None = None,
        accept: str = "application/json",
    ) -> Object:
        wait = self._patience if patience is None else patience
        response = self._send(method, path, kind, query or {}, body, media, wait, TIMEOUT, accept)
        answer: Object = json.loads(response.data)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        kind: Kind | None,
        query: Mapping[str, str],
        body: Any,
        media: str | None,
        patience: float,
        timeout: tuple[float, float],
        accept: str = "application/json",
    ) -> Any:
        start, attempt = self._clock(), 0
        while True:
            try:
                return self._once(method, path, kind, query, body, media, timeout, accept)
            except UnreachableError:
                self._away_at = self._clock()
                if self._clock() - start >= patience:
                    raise
            except ForbiddenError:
                # An API server that has just started forbids everything until it has read its roles.
                if self._away_at is None or self._clock() - self._away_at >= STARTING_SECONDS:
                    raise
            self._sleep(_pause(attempt))
            attempt += 1

    def _once(
        self,
        method: str,
        path: str,
        kind: Kind | None,
        query: Mapping[str, str],
        body: Any,
        media: str | None,
        timeout: tuple[float, float],
        accept: str,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException  # a second to import: not at a DAG's parse
        from urllib3.exceptions import HTTPError

        headers = {"Accept": accept, "Content-Type": media or "application/json"}
        try:
            return self._api.call_api(
                path,
                method,
                query_params=[(key, value) for key, value in query.items() if value],
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except ApiException as error:
            raise self._explain(error, method, path, kind) from error
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"cluster {self.name} can't be reached ({_reason(error)}): check the host and the certificate of its "
                "Kubernetes connection, and the network between"
            ) from error

    def _explain(self, error: Any, method: str, path: str, kind: Kind | None) -> KubernetesError:
        status = _status(error.body)
        said = status.get("message") or error.reason
        where = f"cluster {self.name}, {method} {path}"
        if error.status == 401:
            return CredentialsError(
                f"cluster {self.name} does not accept the credentials (401): they are wrong or have expired; renew "
                "those of its Kubernetes connection"
            )
        if error.status == 403:
            return ForbiddenError(
                f"cluster {self.name} forbids {_verb(method)} on {kind.plural if kind else path}: {said}. Grant it to "
                "the user of the Kubernetes connection (include/manifests/*/rbac.yaml)"
            )
        if error.status == 404:
            return self._absent(status, where, kind)
        if error.status == 409:
            return _conflict(status, where, said)
        if error.status in (400, 422):
            return InvalidError(f"{where}: rejected: {said}")
        if error.status == 429 and path.endswith("/eviction"):
            return _BlockedError(f"{where}: {said}")
        if error.status == 410:
            return _ExpiredError(f"{where}: {said}")
        # 500 of an eviction is two budgets on one pod; other 5xx and 429 pass with a server that recovers.
        if error.status == 429 or error.status > 500 or (error.status == 500 and not path.endswith("/eviction")):
            return UnreachableError(f"{where}: the API server is not able to answer ({error.status} {said})")
        return KubernetesError(f"{where}: {error.status} {said}")

    def _absent(self, status: Object, where: str, kind: Kind | None) -> KubernetesError:
        if status.get("details", {}).get("name"):
            return NotFoundError(f"{where}: {status['message']}")
        name = f"{kind.plural}.{kind.api_version.split('/')[0]}" if kind else where
        return NotServedError(f"cluster {self.name} does not serve {name}: install its CustomResourceDefinition")


class _Views:
    """The lists that a wait looks at, each read once and kept current."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._views: dict[tuple[Kind, str | None, str, str], View] = {}

    def of(self, kind: Kind, namespace: str | None, labels: str, fields: str) -> View:
        """The view of one list."""
        key = (kind, namespace, labels, fields)
        if key not in self._views:
            self._views[key] = self.cluster.view(*key)
        return self._views[key]

    def first(self, kind: Kind, namespace: str | None) -> View | None:
        """A view that shows changes of ``kind`` in ``namespace``; None when nothing of it is looked at."""
        return next((view for key, view in self._views.items() if key[:2] == (kind, namespace)), None)

    def __iter__(self) -> Iterator[View]:
        return iter(self._views.values())

    def __len__(self) -> int:
        return len(self._views)


# The views of the wait that looks at this moment, in this thread.
_VIEWS: contextvars.ContextVar[_Views | None] = contextvars.ContextVar("views", default=None)


class _BlockedError(KubernetesError):
    """A disruption budget has no room for an eviction at this moment."""


class _ExpiredError(KubernetesError):
    """The resource version of a watch is too old (410)."""


def _items(kind: Kind, pages: Sequence[Object]) -> builtins.list[Object]:
    identity = {"apiVersion": kind.api_version, "kind": kind.name}
    return [item | identity for page in pages for item in page["items"]]


def _that_go_with_a_namespace(group: str, version: Mapping[str, Any]) -> builtins.list[Kind]:
    """The kinds of one version of a group that the deletion of a Namespace lists and deletes."""
    api_version = "/".join(part for part in (group, version["version"]) if part)
    return [
        Kind(api_version, resource["responseKind"]["kind"], resource["resource"])
        for resource in version.get("resources", [])
        if resource["scope"] == "Namespaced" and {"list", "delete"} <= set(resource["verbs"])
    ]


def _identity(body: Object) -> tuple[Kind, str | None, str]:
    kind = KINDS[body["kind"]]
    return kind, body["metadata"].get("namespace"), body["metadata"]["name"]


def owns(entry: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether an entry of managedFields has the field at ``path``, such as ``("f:spec", "f:limits", "f:cpu")``."""
    fields: Any = entry.get("fieldsV1") or {}
    for step in path:
        if step not in fields:
            return False
        fields = fields[step]
    return True


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: 0.25, 0.5, 1, 2, 2 ... with jitter, so that regions don't call in step."""
    return float(min(2.0, 0.25 * 2**attempt) * random.uniform(0.75, 1.25))


def _status(body: Any) -> Object:
    text = body.decode() if isinstance(body, bytes) else body
    try:
        parsed = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _conflict(status: Object, where: str, said: str) -> ConflictError:
    causes = status.get("details", {}).get("causes", [])
    owners = {
        cause["field"]: cause["message"].removeprefix("conflict with ").split('"')[1]
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict" and '"' in cause.get("message", "")
    }
    if not owners:
        return ConflictError(f"{where}: {said}", {})
    fields = ", ".join(f"{field} belongs to {owner}" for field, owner in owners.items())
    return ConflictError(f"{where}: {fields}. Change it there, or have that manager give the field up", owners)


def _verb(method: str) -> str:
    return {"GET": "get, list or watch", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[
        method
    ]


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    return " ".join(str(cause).split())[-200:]
