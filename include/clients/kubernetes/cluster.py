"""The verbs of one cluster: read, apply, patch, delete and evict."""

from __future__ import annotations

from collections.abc import Mapping

from include.clients.kubernetes.errors import BlockedError, NotFoundError
from include.clients.kubernetes.kinds import POD, Kind, Object, identity
from include.clients.kubernetes.waits import Waits


class Cluster(Waits):
    """One cluster. ``api_client`` is a configured ``kubernetes.client.ApiClient``; ``patience`` is in seconds."""

    def version(self) -> str:
        """The server's version, such as ``v1.36.3``; fails at once when the cluster can't be reached."""
        return str(self._call("GET", "/version", patience=0)["gitVersion"])

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when it doesn't exist. Raises NotServedError without the kind's definition."""
        try:
            return self._call("GET", kind.path(namespace, name), kind=kind)
        except NotFoundError:
            return None

    def create(self, body: Object, dry_run: bool = False) -> Object:
        """Create the object; a dry run only shows what admission makes of it. Raises ConflictError when it exists."""
        kind, namespace, _ = identity(body)
        query = {"dryRun": "All"} if dry_run else {}
        return self._call("POST", kind.path(namespace), kind=kind, query=query, body=body, patience=0)

    def replace(self, body: Object) -> Object:
        """Replace the object; with a resourceVersion in it, only if it hasn't changed (else ConflictError)."""
        kind, namespace, name = identity(body)
        return self._call("PUT", kind.path(namespace, name), kind=kind, body=body, patience=0)

    def apply(self, body: Object, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply as field manager ``manager``; without ``force`` a conflict names the owner of the field."""
        kind, namespace, name = identity(body)
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = kind.path(namespace, name)
        return self._call("PATCH", path, kind=kind, query=query, body=body, media="application/apply-patch+yaml")

    def patch(
        self,
        kind: Kind,
        name: str,
        patch: Object | list[Object],
        namespace: str | None = None,
        manager: str | None = None,
    ) -> Object:
        """A merge patch (a dictionary) or a JSON patch (a list of operations)."""
        media = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
        query = {"fieldManager": manager} if manager else {}
        return self._call("PATCH", kind.path(namespace, name), kind=kind, query=query, body=patch, media=media)

    def resize(
        self, pod: str, namespace: str, requests: Mapping[str, Mapping[str, str]], manager: str | None = None
    ) -> Object:
        """Set requests of a running pod, by container and resource, where it runs; what is not named stays.

        The kubelet carries it out later: see the pod's conditions PodResizePending and PodResizeInProgress. Raises
        NodeCapacityError when its node could never hold the pod.
        """
        containers = [{"name": name, "resources": {"requests": dict(asked)}} for name, asked in requests.items()]
        query, path = {"fieldManager": manager} if manager else {}, POD.path(namespace, pod, "resize")
        body, media = {"spec": {"containers": containers}}, "application/strategic-merge-patch+json"
        return self._call("PATCH", path, kind=POD, query=query, body=body, media=media)

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
        except BlockedError:
            return False
        return True
