"""Lambda as the lever sees it: configurations as documents, published versions, and provisioned concurrency.

A version is never deleted: CloudFront's replicas run an old one for hours after a switch, and an undo goes back to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.clients.aws import Aws, AwsRefusedError
from include.levers.documents import ATTEMPTS
from include.levers.fields import Object, Path
from include.levers.world import World
from include.rollout.lever import Refused

EDGE_REGION = "us-east-1"  # where functions of Lambda@Edge live; their clients are those of global services
MARK = "akidb-rollout"  # begins the description of a version that the lever has published
LATEST = "$LATEST"
UNITS = "ProvisionedConcurrentExecutions"
# Lambda's codes for what doesn't exist.
NO_FUNCTION, NO_UNITS = "ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException"
# What differs between two versions of the same code and settings, and the size, which is what the lever changes.
OF_ONE_VERSION = {
    *("FunctionArn", "Version", "Description", "LastModified", "RevisionId", "MasterArn", "CodeSize", "ConfigSha256"),
    *("State", "StateReason", "StateReasonCode", "ResponseMetadata", "RuntimeVersionConfig", "SnapStart"),
    *("LastUpdateStatus", "LastUpdateStatusReason", "LastUpdateStatusReasonCode", "MemorySize"),
}


def of_lambda(aws: Aws, operation: str, **parameters: Any) -> dict[str, Any]:
    """One request to Lambda in the region of ``aws``."""
    return aws.call("lambda", operation, **parameters)


def aws_in(world: World, region: str) -> Aws:
    """The clients of a region; those of global services are us-east-1's."""
    if region == EDGE_REGION:
        return world.aws
    aws: Aws = world.target.clients.of(region).aws
    return aws


def configuration(aws: Aws, function: str, qualifier: str = "") -> Object | None:
    """A function's configuration, or that of a version or alias; None when it doesn't exist."""
    parameters = {"FunctionName": function} | ({"Qualifier": qualifier} if qualifier else {})
    try:
        return of_lambda(aws, "get_function_configuration", **parameters)
    except AwsRefusedError as error:
        if error.code != NO_FUNCTION:
            raise
        return None


def shape(config: Object) -> Object:
    """Code and settings without the size and what every version has of its own; what is empty is left out."""
    return {
        key: value for key, value in config.items() if key not in OF_ONE_VERSION and value not in (None, "", [], {})
    }


def versions(world: World, function: str) -> list[Object]:
    """The published versions of the function at the edge, the newest first."""
    found = world.aws.pages("lambda", "list_versions_by_function", "Versions", FunctionName=function)
    return sorted((v for v in found if v["Version"] != LATEST), key=lambda v: -int(v["Version"]))


def alike(every: Iterable[Object], config: Object) -> list[Object]:
    """Those of the versions that differ from ``config`` in nothing but the size."""
    wanted = shape(config)
    return [version for version in every if shape(version) == wanted]


def is_ours(version: Mapping[str, Any]) -> bool:
    """Whether the lever has published a version."""
    return str(version.get("Description", "")).startswith(MARK)


def unsettled(aws: Aws, function: str, qualifier: str = "") -> list[str]:
    """What keeps a function or version from being used, for a wait. Raises Refused when Lambda has given up."""
    config = configuration(aws, function, qualifier) or {}
    state, update = config.get("State", "Active"), config.get("LastUpdateStatus", "Successful")
    if "Failed" in (state, update):
        why = config.get("StateReason") or config.get("LastUpdateStatusReason") or "no reason given"
        raise Refused(
            f"Lambda could not make {function} {qualifier or LATEST} ready: {why}. Repair it, then start again"
        )
    # An idle function is Inactive until it is asked again: nothing to wait for.
    under_way = state == "Pending" or update == "InProgress"
    return [f"{function} is {state}, its update {update}"] if under_way else []


def published(world: World, function: str, memory_mb: int, like: str) -> str:
    """The ARN of a version with the code and settings of the version ``like`` at that size: an older one, or a new one.

    Raises Refused when $LATEST has other code or settings: nothing may be shipped that nobody has approved.
    """
    for _ in range(ATTEMPTS):
        every, now = versions(world, function), configuration(world.aws, function) or {}
        before = next((version for version in every if version["Version"] == like), {})
        found = next((v for v in [before, *alike(every, before)] if v.get("MemorySize") == memory_mb), None)
        if found is not None:
            return str(found["FunctionArn"])
        if shape(now) != shape(before) or now.get("MemorySize") != memory_mb:
            break
        world.target.fence()
        if arn := _publish(world, function, now, f"{MARK}: version {like} at {memory_mb} MB"):
            return arn
    raise Refused(
        f"{world.place}: {LATEST} of {function} is not version {like} at {memory_mb} MB: somebody else has changed it; "
        "have them publish or take back what they do, then start again"
    )


def _publish(world: World, function: str, now: Object, description: str) -> str | None:
    """Publish $LATEST as it was read, and wait until it is active; None when somebody was faster."""
    known = {"CodeSha256": now["CodeSha256"], "RevisionId": now["RevisionId"], "Description": description}
    try:
        made = of_lambda(world.aws, "publish_version", FunctionName=function, **known)
    except AwsRefusedError as error:
        if error.code not in FUNCTIONS.conflicts:
            raise
        return None
    number = str(made["Version"])
    world.await_cloud(lambda: unsettled(world.aws, function, number), f"version {number} of {function} active")
    return str(made["FunctionArn"])


# Documents ------------------------------------------------------------------------------------------------------------


class Functions:
    """See :class:`include.levers.documents.Store`: the size of $LATEST of a function in us-east-1, under RevisionId."""

    kind = "Function"
    conflicts = frozenset({"PreconditionFailedException", "ResourceConflictException"})

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """What the lever may change, and the revision."""
        found = configuration(world.aws, name)
        return (None, "") if found is None else ({"MemorySize": found["MemorySize"]}, str(found.get("RevisionId", "")))

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Update the function, if its revision is still ``token``, and wait until it is updated."""
        world.await_cloud(lambda: unsettled(world.aws, name), f"{self.kind} {name} at rest")
        of_lambda(world.aws, "update_function_configuration", FunctionName=name, RevisionId=token, **document)
        world.await_cloud(lambda: unsettled(world.aws, name), f"{self.kind} {name} updated")

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """``memory_size`` of an ``aws_lambda_function``, whose code is its owner's."""
        del path
        return "aws_lambda_function", name, "memory_size"


class ProvisionedUnits:
    """See :class:`include.levers.documents.Store`: an alias's units, called ``<region> <function> <alias>``.

    An alias without any is a document without fields: writing that deletes the configuration. There is no token.
    """

    kind = "ProvisionedConcurrency"
    conflicts: frozenset[str] = frozenset()

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The units that were asked for; None when the alias doesn't exist."""
        region, function, alias = name.split(" ")
        found = units(aws_in(world, region), function, alias)
        if found is not None:
            return {UNITS: found["RequestedProvisionedConcurrentExecutions"]}, ""
        return ({} if alias_version(aws_in(world, region), function, alias) else None), ""

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Ask for the units, or delete the configuration."""
        del token
        region, function, alias = name.split(" ")
        which = {"FunctionName": function, "Qualifier": alias}
        if document:
            of_lambda(aws_in(world, region), "put_provisioned_concurrency_config", **which, **document)
        else:
            of_lambda(aws_in(world, region), "delete_provisioned_concurrency_config", **which)

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """The units of an ``aws_lambda_provisioned_concurrency_config``."""
        del path
        _, function, alias = name.split(" ")
        return "aws_lambda_provisioned_concurrency_config", f"{function},{alias}", "provisioned_concurrent_executions"


FUNCTIONS, PROVISIONED_UNITS = Functions(), ProvisionedUnits()


def units(aws: Aws, function: str, alias: str) -> Object | None:
    """The alias's provisioned concurrency as Lambda answers; None when it has none."""
    try:
        return of_lambda(aws, "get_provisioned_concurrency_config", FunctionName=function, Qualifier=alias)
    except AwsRefusedError as error:
        if error.code not in (NO_UNITS, NO_FUNCTION):
            raise
        return None


def alias_version(aws: Aws, function: str, alias: str) -> str | None:
    """The version that an alias leads to; None when there is no such alias."""
    try:
        return str(of_lambda(aws, "get_alias", FunctionName=function, Name=alias)["FunctionVersion"])
    except AwsRefusedError as error:
        if error.code != NO_FUNCTION:
            raise
        return None


def not_ready(world: World, regions: Sequence[str], function: str, alias: str) -> list[str]:
    """Regions whose provisioned units aren't ready, for a wait. Raises Refused when Lambda could not provide them."""
    found = []
    for region in regions:
        state = units(aws_in(world, region), function, alias) or {"Status": "absent"}
        if state["Status"] == "FAILED":
            why = state.get("StatusReason", "no reason given")
            raise Refused(
                f"{region}: Lambda can't provide units for {function}:{alias}: {why}. Lower provisioned_units, or "
                "raise the account's concurrency"
            )
        if state["Status"] != "READY":
            ready = state.get("AvailableProvisionedConcurrentExecutions", 0)
            found.append(f"{region}: {function}:{alias} is {state['Status']}, {ready} units ready")
    return found
