"""Why a cluster refused or failed, each kind of failure as an error whose message says what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from include.clients.kubernetes.kinds import Kind, Object


class KubernetesError(RuntimeError):
    """The cluster refused or failed; the message names the cluster, the request and the remedy."""


class UnreachableError(KubernetesError):
    """No answer from the API server within the client's patience."""


class CredentialsError(KubernetesError):
    """The API server does not accept the credentials (401)."""


class ForbiddenError(KubernetesError):
    """The credentials lack a right (403)."""


class NodeCapacityError(KubernetesError):
    """A pod's node could never hold the pod as large as that, whatever else ran on it (403, cause NodeCapacity)."""


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


class BlockedError(KubernetesError):
    """A disruption budget has no room for an eviction at this moment."""


class ExpiredError(KubernetesError):
    """The resource version of a watch is too old (410)."""


def explained(error: Any, cluster: str, method: str, path: str, kind: Kind | None) -> KubernetesError:
    """What an API server's refusal (an ``ApiException``) means for the request ``method`` ``path``."""
    status = _status(error.body)
    reported = status.get("message") or error.reason
    where = f"cluster {cluster}, {method} {path}"
    if error.status == 401:
        return CredentialsError(
            f"cluster {cluster} does not accept the credentials (401): they are wrong or have expired; renew "
            "those of its Kubernetes connection"
        )
    if error.status == 403 and _has_cause(status, "NodeCapacity"):
        return NodeCapacityError(f"{where}: {reported}")
    if error.status == 403:
        return ForbiddenError(
            f"cluster {cluster} forbids {_verb(method)} on {kind.plural if kind else path}: {reported}. Grant it to "
            "the user of the Kubernetes connection (include/manifests/*/rbac.yaml)"
        )
    if error.status == 404:
        return _absent(status, where, kind, cluster)
    if error.status == 409:
        return _conflict(status, where, reported)
    if error.status in (400, 422):
        return InvalidError(f"{where}: rejected: {reported}")
    if error.status == 429 and path.endswith("/eviction"):
        return BlockedError(f"{where}: {reported}")
    if error.status == 410:
        return ExpiredError(f"{where}: {reported}")
    # 500 of an eviction is two budgets on one pod; other 5xx and 429 pass with a server that recovers.
    if error.status == 429 or error.status > 500 or (error.status == 500 and not path.endswith("/eviction")):
        return UnreachableError(f"{where}: the API server is not able to answer ({error.status} {reported})")
    return KubernetesError(f"{where}: {error.status} {reported}")


def _absent(status: Object, where: str, kind: Kind | None, cluster: str) -> KubernetesError:
    if status.get("details", {}).get("name"):
        return NotFoundError(f"{where}: {status['message']}")
    name = f"{kind.plural}.{kind.api_version.split('/')[0]}" if kind else where
    return NotServedError(f"cluster {cluster} does not serve {name}: install its CustomResourceDefinition")


def _status(body: Any) -> Object:
    text = body.decode() if isinstance(body, bytes) else body
    try:
        parsed = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _has_cause(status: Object, reason: str) -> bool:
    return any(cause.get("reason") == reason for cause in status.get("details", {}).get("causes") or [])


def _conflict(status: Object, where: str, reported: str) -> ConflictError:
    causes = status.get("details", {}).get("causes", [])
    owners = {
        cause["field"]: cause["message"].removeprefix("conflict with ").split('"')[1]
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict" and '"' in cause.get("message", "")
    }
    if not owners:
        return ConflictError(f"{where}: {reported}", {})
    fields = ", ".join(f"{field} belongs to {owner}" for field, owner in owners.items())
    return ConflictError(f"{where}: {fields}. Change it there, or have that manager give the field up", owners)


def _verb(method: str) -> str:
    return {"GET": "get, list or watch", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[
        method
    ]


def connection_problem(error: Exception) -> str:
    """What kept a request from being answered, in one line."""
    cause = getattr(error, "reason", None) or error
    return " ".join(str(cause).split())[-200:]
