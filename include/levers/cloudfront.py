"""CloudFront's distributions as levers see them: documents that are written whole, under the ETag that was read.

A distribution is found by one of its aliases, as its id is AWS's to give, and from then on called by its id: an alias
can move to another distribution, and an undo must write to the one that was changed. UpdateDistribution merges nothing:
what an answer held is what is sent back, but for our own fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.aws import AwsRefusedError
from include.levers.fields import Object, Path
from include.levers.world import World
from include.rollout.lever import Check, Difference, NotConverged, Refused

DEPLOYED = "Deployed"
# Of Terraform's aws_cloudfront_distribution, by field.
ARGUMENTS: Mapping[Path, str] = {("PriceClass",): "price_class"}


def of_cloudfront(world: World, operation: str, **parameters: Any) -> dict[str, Any]:
    """One request to CloudFront."""
    return world.aws.call("cloudfront", operation, **parameters)


@dataclass(frozen=True)
class Found:
    """A distribution as the list of all shows it; ``id`` is the name of its document, ``domain`` is CloudFront's."""

    id: str
    arn: str
    domain: str


def distribution(world: World, alias: str) -> Found:
    """The one distribution that answers to ``alias``. Raises Refused when there is none, or more than one."""
    every = list(world.aws.pages("cloudfront", "list_distributions", "DistributionList.Items"))
    found = [one for one in every if alias in one.get("Aliases", {}).get("Items", [])]
    if len(found) != 1:
        said = ", ".join(sorted(one["Id"] for one in found)) or f"none of the account's {len(every)}"
        raise Refused(
            f"{world.place}: one distribution must have the alias {alias!r}, found: {said}. Correct edge.cdn.alias in "
            "estate.yaml, or the account of the AWS connection"
        )
    return Found(found[0]["Id"], found[0]["ARN"], found[0]["DomainName"])


class Distributions:
    """See :class:`include.levers.documents.Store`: DistributionConfig by the distribution's id; the token is its ETag.

    A write is taken at once and deployed later: whoever writes waits with :func:`await_deployed` at the end.
    """

    kind = "Distribution"
    conflicts = frozenset({"PreconditionFailed", "InvalidIfMatchVersion"})

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The distribution's whole configuration and its ETag."""
        try:
            found = of_cloudfront(world, "get_distribution_config", Id=name)
        except AwsRefusedError as error:
            if error.code != "NoSuchDistribution":
                raise
            return None, ""
        return found["DistributionConfig"], found["ETag"]

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Update the distribution, if its ETag is still ``token``."""
        of_cloudfront(world, "update_distribution", Id=name, DistributionConfig=document, IfMatch=token)

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """``price_class`` of an ``aws_cloudfront_distribution``."""
        return "aws_cloudfront_distribution", name, ARGUMENTS.get(path, ".".join(path))


DISTRIBUTIONS = Distributions()


def status(world: World, name: str) -> str | None:
    """``Deployed``, ``InProgress``, or None for a distribution that doesn't exist."""
    try:
        return str(of_cloudfront(world, "get_distribution", Id=name)["Distribution"]["Status"])
    except AwsRefusedError as error:
        if error.code != "NoSuchDistribution":
            raise
        return None


def await_deployed(world: World, name: str) -> None:
    """Wait until every edge location has what was written. Raises NotConverged naming the distribution."""

    def missing() -> list[str]:
        now = status(world, name)
        return [] if now == DEPLOYED else [f"its status is {now or 'unknown: it does not exist'}"]

    world.await_cloud(missing, f"{DISTRIBUTIONS.kind} {name} deployed at every edge location")


def deployed_after_undo(world: World, name: str) -> str | None:
    """Wait after an undo like :func:`await_deployed`; what to report when it takes too long, None when it is done.

    An undo doesn't fail on it: what was set back is set back; :func:`undeployed` keeps it from being called restored.
    """
    if status(world, name) is None:
        return None
    try:
        await_deployed(world, name)
    except NotConverged as error:
        return f"set back but not deployed: {error}"
    return None


def undeployed(world: World, name: str) -> list[Difference]:
    """The difference that remains while a distribution's last change has not reached every edge location."""
    now = status(world, name)
    return [] if now in (None, DEPLOYED) else [Difference(f"{DISTRIBUTIONS.kind} {name} Status", now, DEPLOYED)]


def unknown_fields(world: World, name: str) -> list[str]:
    """What the answer has of a distribution's configuration that the installed boto3 leaves out of it, by path.

    UpdateDistribution replaces everything: what is left out of what was read would be lost by writing it back.
    """
    from xml.etree import ElementTree as ET

    client, bodies = world.aws.client("cloudfront"), list[bytes]()
    event = "before-parse.cloudfront.GetDistributionConfig"

    def keep(response_dict: Object, **_: Any) -> None:
        bodies.append(response_dict["body"])

    client.meta.events.register(event, keep)
    try:
        of_cloudfront(world, "get_distribution_config", Id=name)
    finally:
        client.meta.events.unregister(event, keep)
    answer = client.meta.service_model.operation_model("GetDistributionConfig").output_shape
    root = ET.fromstring(bodies[-1])
    return sorted({*_unknown(root, answer.members["DistributionConfig"], "")})


def _unknown(node: Any, shape: Any, path: str) -> Iterator[str]:
    if shape.type_name == "list":
        for child in node:
            yield from _unknown(child, shape.member, path)
    if shape.type_name != "structure":
        return
    known = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    for child in node:
        tag = child.tag.rpartition("}")[2]
        if tag in known:
            yield from _unknown(child, known[tag], f"{path}{tag}.")
        else:
            yield f"{path}{tag}"


def fields_check(world: World) -> Iterator[Check]:
    """Preflight: nothing of the distribution would be lost by reading and writing it."""
    name = distribution(world, world.estate.edge.cdn.alias).id
    lost = unknown_fields(world, name)
    reason = f"boto3 knows no {', '.join(lost)}" if lost else "boto3 knows every field of it"
    remedy = "install a newer boto3: what it doesn't know would be lost by any change" if lost else ""
    yield Check("distribution's fields", not lost, f"{DISTRIBUTIONS.kind} {name}: {reason}", remedy)


def deployed_check(world: World) -> Iterator[Check]:
    """Preflight: the distribution exists, and no change to it is still on its way."""
    name = distribution(world, world.estate.edge.cdn.alias).id
    now = status(world, name)
    remedy = "" if now == DEPLOYED else "wait until its last change is deployed, or find who makes it; then start again"
    yield Check("distribution deployed", now == DEPLOYED, f"{DISTRIBUTIONS.kind} {name} is {now}", remedy)
