"""The controller of the lab's Gateway: it follows HTTPRoutes and Services and says in a status what it took."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kubernetes import client, config

from include.estate import Estate
from lab.service.endpoints import follow
from lab.service.routing import Routes

GROUP, VERSION = "gateway.networking.k8s.io", "v1"
MERGE = "application/merge-patch+json"
STAYS = (404, 409)  # it has gone, or changed in between: its next event tells
Object = Mapping[str, Any]


def watch_routes(kubeconfig: Path, estate: Estate, name: str) -> Routes:
    """Start daemon threads that keep the routes of a region up to date, and its Gateway programmed."""
    api = config.new_client_from_config(config_file=str(kubeconfig))
    custom, core, space = client.CustomObjectsApi(api), client.CoreV1Api(api), estate.namespace
    write = partial(_write_status, custom, space)
    routes = Routes(estate, lambda route, parents: write("httproutes", route, {"parents": timed(parents)}))

    def program(gateway: Object) -> None:
        if (status := gateway_status(gateway)) is not None:
            write("gateways", gateway["metadata"]["name"], status)

    def program_all(gateways: Iterable[Object]) -> None:
        for found in gateways:
            program(found)

    listed = partial(custom.list_namespaced_custom_object, GROUP, VERSION, space)
    services = partial(core.list_namespaced_service, space)
    follow(services, routes.replace_services, routes.service_event, f"{name} services")
    follow(partial(listed, "httproutes"), routes.replace_routes, routes.route_event, f"{name} routes")
    follow(partial(listed, "gateways"), program_all, lambda _, found: program(found), f"{name} gateways")
    return routes


def timed(parents: list[Object]) -> list[dict[str, Any]]:
    """The parents' conditions with the time that the API asks for."""
    at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    stamped = {"lastTransitionTime": at}
    return [{**parent, "conditions": [{**c, **stamped} for c in parent["conditions"]]} for parent in parents]


def gateway_status(gateway: Object) -> dict[str, Any] | None:
    """Accepted and programmed; None when it says so already."""
    generation = int(gateway["metadata"].get("generation", 1))
    now = {
        c["type"]: (c["status"], c.get("observedGeneration"))
        for c in (gateway.get("status") or {}).get("conditions") or []
    }
    kinds = ("Accepted", "Programmed")
    if all(now.get(kind) == ("True", generation) for kind in kinds):
        return None
    conditions = [
        {"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation}
        for kind in kinds
    ]
    return {"conditions": timed([{"conditions": conditions}])[0]["conditions"]}


def _write_status(custom: client.CustomObjectsApi, space: str, plural: str, name: str, status: Object) -> None:
    try:
        custom.patch_namespaced_custom_object_status(
            GROUP, VERSION, space, plural, name, {"status": status}, _content_type=MERGE, _request_timeout=(3, 10)
        )
    except client.ApiException as error:
        if error.status not in STAYS:
            raise
