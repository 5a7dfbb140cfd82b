"""Lambda as AWS answers it, where moto is laxer: RevisionId is a lock, an update takes its time (:data:`UPDATING`),
versions are numbered and compared as AWS does, what is in use stays, and provisioned concurrency exists
(:mod:`lab.cloud.moto_provisioned`).

:func:`as_aws` changes moto's classes, so that the emulator and an in-process ``mock_aws`` are repaired alike.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from lab.cloud import edge_functions, moto_provisioned
from lab.cloud.lambda_refusals import conflict, refusal
from lab.cloud.pace import Pace

UPDATING = Pace()
MOST_MEMORY_MB, MOST_SECONDS = 10_240, 900
# What a new version is compared by; CodeSha256 is the code's.
COMPARED = (
    *("CodeSha256", "Handler", "MemorySize", "Role", "Runtime", "Timeout", "Environment", "VpcConfig", "Layers"),
    *("Architectures", "EphemeralStorage", "TracingConfig", "KMSKeyArn"),
)


def as_aws() -> None:
    """Repair moto's Lambda in this process; a second call changes nothing."""
    from moto.awslambda.models import LambdaAlias, LambdaBackend, LambdaFunction, LambdaStorage
    from moto.awslambda.responses import LambdaResponse

    if getattr(LambdaBackend, "as_aws", False):
        return
    LambdaBackend.as_aws = True  # type: ignore[attr-defined]
    LambdaFunction.get_configuration = _told(LambdaFunction.get_configuration)  # type: ignore[method-assign]
    LambdaFunction.update_configuration = _changing(LambdaFunction.update_configuration)  # type: ignore[method-assign]
    LambdaFunction.update_function_code = _changing(LambdaFunction.update_function_code)  # type: ignore[method-assign]
    LambdaAlias.update = _alias_changing(LambdaAlias.update)  # type: ignore[method-assign]
    LambdaStorage.publish_version = _publish  # type: ignore[method-assign]
    LambdaStorage.del_function = _deleting(LambdaStorage.del_function)  # type: ignore[method-assign]
    for name in ("update_function_configuration", "update_function_code", "publish_version"):
        setattr(LambdaResponse, name, _guarded(getattr(LambdaResponse, name)))
    for name in ("get_function", "get_function_configuration"):
        setattr(LambdaResponse, name, _looking(getattr(LambdaResponse, name)))
    LambdaResponse.update_alias = _alias_guarded(LambdaResponse.update_alias)  # type: ignore[method-assign]
    moto_provisioned.as_aws()


# Functions -----------------------------------------------------------------------------------------------------------


def _told(answered: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def configuration(self: Any, on_create: bool = False) -> dict[str, Any]:
        found = {**answered(self, on_create), "RevisionId": revision(self)}
        updating = self.__dict__.get("updating")
        if not on_create and self.version == "$LATEST" and updating and self.__dict__.get("seen_running"):
            found["LastUpdateStatus"] = "InProgress"
        return found

    return configuration


def revision(thing: Any) -> str:
    """The RevisionId of a function, a version or an alias."""
    return str(thing.__dict__.setdefault("revision_id", str(uuid.uuid4())))


def _changing(changed: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def change(self: Any, updates: dict[str, Any]) -> dict[str, Any]:
        changed(self, updates)
        self.revision_id, self.updating, self.seen_running = str(uuid.uuid4()), UPDATING.begin(), True
        found: dict[str, Any] = self.get_configuration()
        return found

    return change


def _guarded(answered: Callable[..., Any]) -> Callable[..., Any]:
    """A write of a function: its bounds, its lock, and no other update under way."""

    def write(self: Any) -> Any:
        body = json.loads(self.body or "{}")
        function = self.backend.get_function(_name(self))
        _check_bounds(body)
        _check_revision(body.get("RevisionId"), revision(function))
        updating = function.__dict__.get("updating")
        if updating and updating.running:
            said = f"An update is in progress for resource: {function.function_arn}"
            raise conflict(f"The operation cannot be performed at this time. {said}")
        if (given := body.get("CodeSha256")) and given != function.code_sha_256:
            said = f"CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({function.code_sha_256})"
            raise refusal("InvalidParameterValueException", f"{said}. Please try again with the CodeSHA256 in $LATEST.")
        return answered(self)

    return write


def _looking(answered: Callable[..., Any]) -> Callable[..., Any]:
    def read(self: Any) -> Any:
        function = self.backend.get_function(_name(self))
        updating = function.__dict__.get("updating")
        function.seen_running = updating is not None and updating.look()
        return answered(self)

    return read


def _name(response: Any) -> str:
    """The function that a request's path names, without its qualifier."""
    from urllib.parse import unquote

    parts = unquote(response.path).split("/functions/")[1].split("/")[0].split(":function:")[-1]
    return parts.split(":")[0]


def _check_bounds(body: Mapping[str, Any]) -> None:
    for field, most in (("MemorySize", MOST_MEMORY_MB), ("Timeout", MOST_SECONDS)):
        if int(body.get(field) or 0) > most:
            where = f"1 validation error detected: Value '{body[field]}' at '{field[0].lower()}{field[1:]}' failed to"
            said = f"satisfy constraint: Member must have value less than or equal to {most}"
            raise refusal("ValidationException", f"{where} {said}")


def _check_revision(given: str | None, current: str) -> None:
    if given and given != current:
        said = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to"
        raise refusal("PreconditionFailedException", f"{said} retrieve the latest Revision Id", 412)


# Versions ------------------------------------------------------------------------------------------------------------


def _publish(self: Any, name_or_arn: str, description: str = "") -> Any:
    """A version of $LATEST, or the last one when nothing has changed since. Numbers are never used twice."""
    import copy

    function = self.get_function_by_name_or_arn_forbid_qualifier(name_or_arn)
    entry = self._functions[function.function_name]
    if entry["versions"] and _compared(entry["versions"][-1]) == _compared(function):
        return entry["versions"][-1]
    entry["published"] = entry.get("published", 0) + 1
    version = copy.copy(function)
    version.set_version(entry["published"])
    version.revision_id = str(uuid.uuid4())
    version.description = description or version.description
    entry["versions"].append(version)
    self._arns[version.function_arn] = version
    return version


def _compared(function: Any) -> dict[str, Any]:
    found = function.get_configuration()
    return {key: found.get(key) for key in COMPARED}


def _deleting(deleted: Callable[..., None]) -> Callable[..., None]:
    def delete(self: Any, name_or_arn: str, qualifier: str | None = None) -> None:
        function = self.get_function_by_name_or_arn_with_qualifier(name_or_arn, qualifier)
        _, _, in_arn = self.split_function_arn(name_or_arn) if ":" in name_or_arn else ("", "", None)
        version = qualifier or in_arn
        entry = self._functions[function.function_name]
        for found in entry["versions"] if not version else [function]:
            if edge_functions.is_replicated(found.function_arn):
                said = f"Lambda was unable to delete {found.function_arn} because it is a replicated function"
                said += ". Please see our documentation for Deleting Lambda@Edge Functions and Replicas."
                raise refusal("InvalidParameterValueException", said)
        if version:
            _refuse_if_aliased(self, function)
        aliases = self._aliases.get(function.function_arn.rsplit(":", 1)[0], {}) if version else {}
        deleted(self, name_or_arn, qualifier)
        if version:  # moto forgets the aliases of the function
            self._aliases[function.function_arn.rsplit(":", 1)[0]] = aliases

    return delete


def _refuse_if_aliased(storage: Any, function: Any) -> None:
    number = str(function.version)
    if number == "$LATEST":
        raise refusal("InvalidParameterValueException", "$LATEST can't be deleted without deleting the function.")
    users = [alias.name for alias in storage.list_aliases(function.function_name) if _leads_to(alias, number)]
    if users:
        raise conflict(f"Unable to delete version because the following aliases reference it: {users}")


def _leads_to(alias: Any, number: str) -> bool:
    weights = (alias.routing_config or {}).get("AdditionalVersionWeights") or {}
    return number in (alias.function_version, *weights)


# Aliases -------------------------------------------------------------------------------------------------------------


def _alias_guarded(answered: Callable[..., Any]) -> Callable[..., Any]:
    def write(self: Any) -> Any:
        alias = self.backend.get_alias(self.path.rsplit("/", 2)[-1], _name(self))
        _check_revision(json.loads(self.body or "{}").get("RevisionId"), revision(alias))
        return answered(self)

    return write


def _alias_changing(changed: Callable[..., None]) -> Callable[..., None]:
    def update(self: Any, *arguments: Any, **more: Any) -> None:
        changed(self, *arguments, **more)
        self.revision_id = str(uuid.uuid4())
        moto_provisioned.moved(self)

    return update
