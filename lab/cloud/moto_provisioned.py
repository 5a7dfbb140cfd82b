"""Provisioned concurrency, which moto's Lambda lacks: on an alias or a numbered version, allocated in its own time."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lab.cloud import edge_functions
from lab.cloud.lambda_refusals import refusal
from lab.cloud.pace import Pace, Running

ALLOCATING = Pace()
ACCOUNT_LIMIT, UNRESERVED = 1_000, 100  # of concurrent executions in a region; what no function may reserve
PATH = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)/provisioned-concurrency/?$"


@dataclass
class Provisioned:
    """What one alias or version has."""

    arn: str
    requested: int
    changed: str
    allocating: Running

    def document(self, running: bool) -> dict[str, Any]:
        """As GetProvisionedConcurrencyConfig answers."""
        ready = 0 if running else self.requested
        return {
            "RequestedProvisionedConcurrentExecutions": self.requested,
            "AvailableProvisionedConcurrentExecutions": ready,
            "AllocatedProvisionedConcurrentExecutions": ready,
            "Status": "IN_PROGRESS" if running else "READY",
            "LastModified": self.changed,
        }


def as_aws() -> None:
    """Give moto's Lambda the four operations. Call :func:`lab.cloud.moto_lambda.as_aws` instead, which does so."""
    from moto.awslambda import urls
    from moto.awslambda.responses import LambdaResponse

    urls.url_paths[PATH] = LambdaResponse.dispatch
    LambdaResponse.put_provisioned_concurrency_config = _put  # type: ignore[attr-defined]
    LambdaResponse.get_provisioned_concurrency_config = _get  # type: ignore[attr-defined]
    LambdaResponse.delete_provisioned_concurrency_config = _delete  # type: ignore[attr-defined]
    LambdaResponse.list_provisioned_concurrency_configs = _list  # type: ignore[attr-defined]


def of(backend: Any) -> dict[str, Provisioned]:
    """What a region's functions have, by the ARN of the alias or version."""
    found: dict[str, Provisioned] = backend.__dict__.setdefault("provisioned", {})
    return found


def moved(alias: Any) -> None:
    """An alias leads to another version: its environments are made anew."""
    from moto.awslambda.models import lambda_backends

    account, region = alias.arn.split(":")[4], alias.arn.split(":")[3]
    if (had := of(lambda_backends[account][region]).get(alias.arn)) is not None:
        had.allocating = ALLOCATING.begin()


def _where(response: Any) -> tuple[str, str]:
    """The function's name and the qualifier of a request."""
    name = unquote(response.path).split("/functions/")[1].split("/")[0].split(":function:")[-1].split(":")[0]
    return name, str((response.querystring.get("Qualifier") or [""])[0])


def _target(response: Any) -> tuple[Any, str]:
    """The version that a request's qualifier leads to, and the ARN of that qualifier."""
    name, qualifier = _where(response)
    function = response.backend.get_function(name, qualifier)
    root = function.function_arn.split(":function:")[0]
    return function, f"{root}:function:{name}:{qualifier}"


def _put(response: Any) -> Any:
    function, arn = _target(response)
    wanted = int(json.loads(response.body)["ProvisionedConcurrentExecutions"])
    _check(response.backend, function, arn, wanted)
    changed = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S+0000}"
    made = of(response.backend)[arn] = Provisioned(arn, wanted, changed, ALLOCATING.begin())
    return 202, {"status": 202}, json.dumps(made.document(running=True))


def _check(backend: Any, function: Any, arn: str, wanted: int) -> None:
    invalid = "InvalidParameterValueException"
    if str(function.version) == "$LATEST":
        said = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        raise refusal(invalid, said)
    if edge_functions.is_replicated(function.function_arn):
        raise refusal(invalid, f"Provisioned concurrency is not supported for Lambda@Edge: {function.function_arn}")
    others = {name: had.requested for name, had in of(backend).items() if name != arn}
    if _same_version(backend, function, arn) & set(others):
        said = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        raise refusal(invalid, said)
    reserved = backend.get_function(function.function_name).reserved_concurrency  # the function's, not a version's
    if reserved is not None and wanted > int(reserved):
        said = "Requested Provisioned Concurrency should not be greater than the"
        raise refusal(invalid, f"{said} reservedConcurrentExecution for function")
    if wanted + sum(others.values()) > ACCOUNT_LIMIT - UNRESERVED:
        said = f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED}]"
        raise refusal(invalid, f"Specified ConcurrentExecutions for function decreases account's {said}.")


def _same_version(backend: Any, function: Any, arn: str) -> set[str]:
    """Every other name of the version that ``arn`` leads to."""
    aliases = backend.list_aliases(function.function_name)
    names = {alias.arn for alias in aliases if alias.function_version == str(function.version)}
    return (names | {function.function_arn}) - {arn}


def _found(response: Any) -> Provisioned:
    _, arn = _target(response)
    had = of(response.backend).get(arn)
    if had is None:
        said = "No Provisioned Concurrency Config found for this function"
        raise refusal("ProvisionedConcurrencyConfigNotFoundException", said, 404)
    return had


def _get(response: Any) -> Any:
    if response.querystring.get("List"):
        return _list(response)
    had = _found(response)
    return 200, {}, json.dumps(had.document(had.allocating.look()))


def _delete(response: Any) -> Any:
    _, arn = _target(response)
    of(response.backend).pop(arn, None)
    return 204, {"status": 204}, ""


def _list(response: Any) -> Any:
    name, _ = _where(response)
    response.backend.get_function(name)
    every = of(response.backend).items()
    mine = [(arn, had) for arn, had in every if arn.split(":function:")[1].split(":")[0] == name]
    found = [{"FunctionArn": arn, **had.document(had.allocating.running)} for arn, had in mine]
    return 200, {}, json.dumps({"ProvisionedConcurrencyConfigs": found})
