"""What the lever and the lab write of Gateway API has the shape that its own definitions ask for."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from include.estate import load_estate
from include.levers.request_routing.wanted import route
from lab.cluster.workloads import GATEWAY_CRDS, _routing
from lab.machine.programs import shared_folder
from lab.service.gateway import gateway_status, timed
from lab.service.routing import Routes

ESTATE = load_estate()
WEIGHTS = {"akidb-jetson": 1496, "akidb-rest": 8504, "akidb-lambda": 0}


@pytest.fixture(scope="module")
def definitions() -> dict[str, Any]:
    """The schema of each kind, of version v1."""
    if not shared_folder("gateway-crds").is_dir():
        pytest.skip("Gateway API's definitions are not there: run `make setup`")
    documents = [yaml.safe_load(path.read_text()) for path in shared_folder("gateway-crds").glob(GATEWAY_CRDS)]
    return {
        document["spec"]["names"]["kind"]: version["schema"]["openAPIV3Schema"]
        for document in documents
        for version in document["spec"]["versions"]
        if version["name"] == "v1"
    }


def check(definitions: dict[str, Any], body: dict[str, Any]) -> None:
    """Unknown fields are refused, as by a strict API server."""
    jsonschema.validate(body, strict(definitions[body["kind"]]))


def strict(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, dict):
        found = {key: strict(value) for key, value in schema.items()}
        if "properties" in schema and schema.get("type") == "object" and schema["properties"]:
            found.setdefault("additionalProperties", False)
        return found
    return [strict(value) for value in schema] if isinstance(schema, list) else schema


def test_the_definitions_are_those_that_the_lab_installs(definitions: dict[str, Any]) -> None:
    assert sorted(definitions) == ["GRPCRoute", "Gateway", "GatewayClass", "HTTPRoute"]


def test_the_route_and_its_status_are_valid(definitions: dict[str, Any]) -> None:
    body = route(ESTATE, WEIGHTS, None, "100 108").body
    check(definitions, body)
    told: list[Any] = []
    followed = Routes(ESTATE, lambda _name, parents: told.append(timed(parents)))
    followed.replace_routes([{**body, "metadata": {**body["metadata"], "generation": 1}}])
    check(definitions, {**body, "status": {"parents": told[0]}})


def test_the_labs_gateway_and_its_status_are_valid(definitions: dict[str, Any]) -> None:
    found = {document["kind"]: document for document in _routing(ESTATE)}
    for kind in ("GatewayClass", "Gateway"):
        check(definitions, found[kind])
    check(definitions, {**found["Gateway"], "status": gateway_status(found["Gateway"])})


def test_a_wrong_field_would_be_found(definitions: dict[str, Any]) -> None:
    body = route(ESTATE, WEIGHTS, None, "").body
    body["spec"]["rules"][0]["backendRefs"][0]["wieght"] = 1
    with pytest.raises(jsonschema.ValidationError, match="wieght"):
        check(definitions, body)
