"""What a cluster has: lists in pages as of one version, what kinds it knows, and watches of what changes."""

from __future__ import annotations

import builtins
import contextvars
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from include.clients.kubernetes.errors import ExpiredError, KubernetesError, NotServedError, UnreachableError
from include.clients.kubernetes.kinds import Kind, Object
from include.clients.kubernetes.requests import JSON, ApiServer, pause
from include.clients.views import READ_AGAIN, View

PAGE = 500  # objects in one answer to a list request
LIST_ATTEMPTS = 3  # at a list whose version is forgotten before its last page
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class Lists(ApiServer):
    """The lists of one cluster; see :class:`include.clients.kubernetes.Cluster`."""

    def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the resource; its right to list it is not needed."""
        root = "/apis" if "/" in kind.api_version else "/api"
        try:
            known = self._call("GET", f"{root}/{kind.api_version}")
        except NotServedError:
            return False
        return any(resource["name"] == kind.plural for resource in known["resources"])

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
        views = VIEWS.get()
        if views is not None and views.cluster is self:
            return views.of(kind, namespace, labels, fields).objects()
        return _items(kind, self._pages(kind, namespace, labels, fields))

    def list_metadata(self, kind: Kind, namespace: str | None = None) -> builtins.list[Object]:
        """All objects with nothing but their metadata: no content of a Secret, for one, is sent."""
        return _items(kind, self._pages(kind, namespace, "", "", METADATA))

    def _pages(
        self, kind: Kind, namespace: str | None, labels: str, fields: str, accept: str = JSON
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
            except ExpiredError:
                continue
            return pages
        # As of no version at all, but in one answer.
        return [self._page(kind, namespace, query | {"limit": ""}, accept)]

    def _page(self, kind: Kind, namespace: str | None, query: Mapping[str, str], accept: str) -> Object:
        page = self._call("GET", kind.path(namespace), kind, query, accept=accept)
        page["items"] = page["items"] or []  # of metadata alone, an API server says null for none
        return page

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
            except ExpiredError:
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
            self._sleep(min(pause(0), max(0.0, end - self._clock())))

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
        except ExpiredError:
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

    def changes_since(
        self, kind: Kind, namespace: str | None, version: str, seconds: float = 2.0
    ) -> tuple[builtins.list[Object], str] | None:
        """Every state that objects of a kind have had after ``version``, in order, and the version of now.

        What a list of now doesn't show: states that came and went. None when the API server has forgotten that far
        back (by default it remembers five minutes). Takes up to ``seconds``.
        """
        latest = self.latest(kind, namespace)
        found = []
        for event, thing in self._changes(kind, namespace, "", "", version, seconds, seconds):
            if event in (READ_AGAIN, "ERROR"):
                return None
            if event in ("ADDED", "MODIFIED"):
                found.append(thing)
            if int(thing["metadata"]["resourceVersion"]) >= int(latest):
                break
        return found, latest

    def latest(self, kind: Kind, namespace: str | None) -> str:
        """The version of the list of a kind as it is now."""
        page = self._call("GET", kind.path(namespace), kind=kind, query={"limit": "1"})
        return str(page["metadata"]["resourceVersion"])


class Views:
    """The lists that a wait looks at, each read once and kept current."""

    def __init__(self, cluster: Lists) -> None:
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
VIEWS: contextvars.ContextVar[Views | None] = contextvars.ContextVar("views", default=None)


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
