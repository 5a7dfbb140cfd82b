"""Which version of a function CloudFront runs: a view of the distribution's document that shows nothing else of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

from include.levers.cloudfront import DISTRIBUTIONS
from include.levers.fields import Object, Path
from include.levers.world import World

DEFAULT = "default"  # the behaviour without a path pattern


def function_of(arn: str) -> str:
    """``akidb-edge`` of ``arn:aws:lambda:us-east-1:123456789012:function:akidb-edge:7``."""
    return (arn.split(":") + [""] * 8)[6]


def version_of(arn: str) -> str:
    """``7`` of ``arn:aws:lambda:us-east-1:123456789012:function:akidb-edge:7``."""
    return (arn.split(":") + [""] * 8)[7]


def event_of(name: str) -> str:
    """``origin-request`` of ``/models/* origin-request``."""
    return name.rpartition(" ")[2]


def _each(config: Object) -> Iterator[tuple[str, Object]]:
    """``default origin-request`` or ``/models/* origin-request``, and the association as it stands in the document."""
    behaviours = [(DEFAULT, config.get("DefaultCacheBehavior", {}))]
    others = (config.get("CacheBehaviors") or {}).get("Items") or []
    behaviours += [(behaviour["PathPattern"], behaviour) for behaviour in others]
    for pattern, behaviour in behaviours:
        for association in (behaviour.get("LambdaFunctionAssociations") or {}).get("Items") or []:
            yield f"{pattern} {association['EventType']}", association


def shown(config: Object) -> dict[str, str]:
    """The ARN of each association's version."""
    return {name: association["LambdaFunctionARN"] for name, association in _each(config)}


def switched(config: Object, wanted: Mapping[str, str]) -> Object:
    """The document with these associations' ARNs, every other field as it is."""
    changed = copy.deepcopy(config)
    for name, association in _each(changed):
        association["LambdaFunctionARN"] = wanted.get(name, association["LambdaFunctionARN"])
    return changed


class Associations:
    """See :class:`include.levers.documents.Store`: ``<distribution's id> <function>``, and the distribution's ETag."""

    kind = "Associations"
    conflicts = DISTRIBUTIONS.conflicts

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """``{"default origin-request": ARN}``, of that function alone."""
        distribution, _, function = name.partition(" ")
        config, token = DISTRIBUTIONS.read(world, distribution)
        if config is None:
            return None, ""
        return {key: arn for key, arn in shown(config).items() if function_of(arn) == function}, token

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Switch them. With the ETag that was read first, so that a document that is newer by now is refused."""
        distribution = name.partition(" ")[0]
        config, _ = DISTRIBUTIONS.read(world, distribution)
        DISTRIBUTIONS.write(world, distribution, switched(config or {}, document), token)

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """The function's ARN in the behaviour of that path pattern, for that event."""
        pattern, _, event = path[0].rpartition(" ")
        behaviour = "default_cache_behavior" if pattern == DEFAULT else f"ordered_cache_behavior[{pattern}]"
        argument = f"{behaviour}.lambda_function_association[{event}].lambda_arn"
        return "aws_cloudfront_distribution", name.partition(" ")[0], argument


ASSOCIATIONS = Associations()
