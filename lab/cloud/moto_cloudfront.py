"""CloudFront as AWS answers it, where moto is laxer: the whole configuration is kept, If-Match counts, updates are
complete or refused, functions of Lambda@Edge are what they may be, and a change takes its time (:data:`DEPLOYING`).

:func:`as_aws` changes moto's classes, so that the emulator and an in-process ``mock_aws`` are repaired alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab.cloud import edge_functions
from lab.cloud.cloudfront_defaults import completed, missing_for_update
from lab.cloud.pace import Pace

DEPLOYING = Pace()


class SomebodyElse:
    """Somebody who changes the distribution's comment between a caller's read and its next write, once: a fault.

    What is left empty changes nothing. The caller's ETag is then old, and the comment is not its to take back.
    """

    def __init__(self) -> None:
        self.comment = ""

    def reset(self, comment: str = "") -> None:
        """What the comment is changed into before the next update."""
        self.comment = comment

    def come_between(self, found: Any) -> None:
        """Change the distribution that somebody is about to update."""
        from moto.cloudfront.models import random_id

        if self.comment:
            found.distribution_config = Document({**found.distribution_config, "Comment": self.comment})
            found.etag, self.comment = random_id(), ""


SOMEBODY_ELSE = SomebodyElse()
PRICE_CLASSES = ("PriceClass_100", "PriceClass_200", "PriceClass_All", "None")


class Document(dict[str, Any]):
    """A distribution's configuration, every member kept; moto asks for some of them as attributes."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(completed(given))

    @property
    def caller_reference(self) -> str:
        """What moto calls the reference."""
        return str(self["CallerReference"])


def as_aws() -> None:
    """Repair moto's CloudFront in this process; a second call changes nothing."""
    from moto.cloudfront import models

    backend = models.CloudFrontBackend
    if getattr(backend, "as_aws", False):
        return
    backend.as_aws = True  # type: ignore[attr-defined]
    models.DistributionConfig = Document  # type: ignore[misc,assignment]
    models.Distribution.__getattr__ = _member  # type: ignore[method-assign]
    models.Distribution.status = property(_status)  # type: ignore[assignment,method-assign]
    backend.create_distribution_with_tags = _creating(backend.create_distribution_with_tags)  # type: ignore[method-assign]
    backend.get_distribution = _getting(backend.get_distribution)  # type: ignore[method-assign]
    backend.update_distribution = _update  # type: ignore[assignment,method-assign]
    backend.delete_distribution = _deleting(backend.delete_distribution)  # type: ignore[method-assign]


def _member(self: Any, name: str) -> Any:
    config = self.__dict__.get("distribution_config", {})
    if name in config:
        return config[name]
    raise AttributeError(name)


def _status(self: Any) -> str:
    return "InProgress" if self.__dict__.get("seen_running") else "Deployed"


def _creating(made: Callable[..., Any]) -> Callable[..., Any]:
    def create(self: Any, distribution_config: dict[str, Any], tags: list[dict[str, str]]) -> Any:
        wanted = completed(distribution_config)
        if not any(d.distribution_config.caller_reference == wanted["CallerReference"] for d in _all(self)):
            _check(self, wanted, None)
        answer = made(self, distribution_config, tags)
        answer[0].last_modified_time = _now()
        edge_functions.changed(_all(self))
        return answer

    return create


def _getting(got: Callable[..., Any]) -> Callable[..., Any]:
    def get(self: Any, distribution_id: str) -> Any:
        answer = got(self, distribution_id)
        deploying = answer[0].__dict__.get("deploying")
        answer[0].seen_running = deploying is not None and deploying.look()
        return answer

    return get


def _update(self: Any, dist_config: dict[str, Any], _id: str, if_match: str | None) -> tuple[Any, str, str]:
    """The distribution with exactly ``dist_config``: nothing is merged."""
    from moto.cloudfront.models import random_id

    if _id in self.distributions:
        SOMEBODY_ELSE.come_between(self.distributions[_id])
    found = _found(self, _id, if_match)
    if missing := missing_for_update(dist_config):
        raise refusal("IllegalUpdate", f"{missing} is required for updates.")
    wanted = Document(dist_config)
    if wanted.caller_reference != found.distribution_config.caller_reference:
        raise refusal("IllegalUpdate", "You cannot update Origin or CallerReference.")
    _check(self, wanted, found)
    found.distribution_config, found.etag, found.last_modified_time = wanted, random_id(), _now()
    found.deploying, found.seen_running = DEPLOYING.begin(), True
    edge_functions.changed(_all(self))
    return found, found.location, found.etag


def _deleting(deleted: Callable[..., Any]) -> Callable[..., Any]:
    def delete(self: Any, distribution_id: str, if_match: str | None) -> None:
        found = _found(self, distribution_id, if_match)
        if found.Enabled or ("deploying" in found.__dict__ and found.deploying.running):
            raise refusal("DistributionNotDisabled", "The distribution you are trying to delete has not been disabled.")
        deleted(self, distribution_id, if_match)
        edge_functions.changed(_all(self))

    return delete


def _found(backend: Any, distribution_id: str, if_match: str | None) -> Any:
    """The distribution, if ``if_match`` is its current ETag."""
    from moto.cloudfront.exceptions import InvalidIfMatchVersion, NoSuchDistribution

    if distribution_id not in backend.distributions:
        raise NoSuchDistribution
    if not if_match:
        raise InvalidIfMatchVersion
    found = backend.distributions[distribution_id]
    if if_match != found.etag:
        said = "The request failed because it didn't meet the preconditions in one or more request-header fields."
        raise refusal("PreconditionFailed", said)
    return found


def _all(backend: Any) -> list[Any]:
    return list(backend.distributions.values())


def _now() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.000Z}"


# What a configuration may be -----------------------------------------------------------------------------------------


def _check(backend: Any, config: Mapping[str, Any], own: Any) -> None:
    """Refuse what AWS refuses of a configuration; ``own`` is the distribution that gets it, None for a new one."""
    for found in _counted(config):
        if found["Quantity"] != len(found.get("Items") or []):
            raise refusal("InconsistentQuantities", "The value of Quantity and the size of Items don't match.")
    if config["PriceClass"] not in PRICE_CLASSES:
        raise refusal("InvalidArgument", f"The parameter PriceClass {config['PriceClass']!r} is not valid.")
    _check_aliases(backend, config, own)
    known = {origin["Id"] for origin in config["Origins"].get("Items", [])}
    for behaviour in behaviours(config):
        if behaviour["TargetOriginId"] not in known:
            raise refusal("NoSuchOrigin", "One or more of your origins or origin groups do not exist.")
        edge_functions.check(behaviour["LambdaFunctionAssociations"].get("Items", []))


def _check_aliases(backend: Any, config: Mapping[str, Any], own: Any) -> None:
    aliases = set(config["Aliases"].get("Items", []))
    if aliases and not config["ViewerCertificate"].get("ACMCertificateArn"):
        said = "To add an alternate domain name (CNAME), you must attach a trusted certificate"
        raise refusal("InvalidViewerCertificate", f"{said} that validates your authorization to use the domain name.")
    for other in _all(backend):
        if other is not own and aliases & set(other.Aliases.get("Items", [])):
            said = "One or more of the CNAMEs you provided are already associated with a different resource."
            raise refusal("CNAMEAlreadyExists", said)


def behaviours(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The default cache behaviour, then the others."""
    return [config["DefaultCacheBehavior"], *config["CacheBehaviors"].get("Items", [])]


def _counted(value: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in a configuration that counts its own items."""
    if isinstance(value, Mapping):
        if "Quantity" in value:
            yield value
        for inner in value.values():
            yield from _counted(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _counted(inner)


def refusal(code: str, message: str) -> Exception:
    """An error of CloudFront; its HTTP status is that of AWS's model of the service."""
    from moto.cloudfront.exceptions import CloudFrontException

    return CloudFrontException(code, message)
