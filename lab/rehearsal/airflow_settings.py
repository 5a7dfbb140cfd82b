"""airflow_settings.yaml for the lab: its placeholders filled in, its entries loaded through the REST API."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from include.estate import load_estate
from lab import world
from lab.cluster.opencost import SERVED
from lab.rehearsal.airflow_api import AirflowError, Client
from lab.rehearsal.airflow_config import HOST
from lab.rehearsal.folders import costs_folder, ledger_folder
from lab.rehearsal.signing import signing_key

SETTINGS_FILE = world.REPOSITORY / "airflow_settings.yaml"
SERVICE_USER = "akidb-service"


class Running(Protocol):
    """The part of a running Airflow that its settings are made from."""

    url: str
    passwords: dict[str, str]

    def client(self) -> Client: ...


def variables_of(state: Mapping[str, Any], airflow: Running, folder: Path) -> dict[str, str]:
    """What the placeholders of airflow_settings.yaml stand for in the lab of ``folder`` and the running Airflow."""
    prometheus_host, prometheus_port = _host_and_port(state["prometheus"])
    probes_host, probes_port = _host_and_port(state["plant"])
    _, _, port = airflow.url.rpartition(":")
    values = {
        "AWS_ENDPOINT": str(state["aws_endpoint"]),
        "AWS_KEY": "lab",  # the emulator takes any key
        "AWS_SECRET": "lab",
        "PROMETHEUS_HOST": prometheus_host,
        "PROMETHEUS_PORT": prometheus_port,
        "PROBES_HOST": probes_host,
        "PROBES_PORT": probes_port,
        "AIRFLOW_HOST": HOST,
        "AIRFLOW_PORT": port,
        "SERVICE_USER": SERVICE_USER,
        "SERVICE_PASSWORD": airflow.passwords[SERVICE_USER],
        "LEDGER": ledger_folder(folder).as_uri(),
        "COSTS": costs_folder(folder).as_uri(),
        "TRAFFIC": world.traffic_folder(folder).as_uri(),
        "MODELS": str(state["models"]),
    }
    for device, entry in state["devices"].items():
        values[f"SSH_PORT_{device.upper()}"] = str(entry["port"])
        values[f"SSH_HOST_KEY_{device.upper()}"] = str(entry["host_key"])
        values["SSH_KEY_FILE"] = str(entry["key_file"])
    for region, entry in state["regions"].items():
        ending = region.upper().replace("-", "_")
        values[f"KUBECONFIG_{ending}"] = str(entry["rollout_kubeconfig"])
        for name in SERVED:
            values[f"{name.upper()}_HOST_{ending}"], values[f"{name.upper()}_PORT_{ending}"] = _host_and_port(
                entry[name]
            )
    return values


def _host_and_port(address: object) -> tuple[str, str]:
    host, _, port = str(address).removeprefix("http://").partition(":")
    return host, port


def settings_for(
    text: str, values: Mapping[str, str], absent_regions: tuple[str, ...] = (), kept: Collection[str] = ()
) -> dict[str, Any]:
    """airflow_settings.yaml with every ``${NAME}`` filled in.

    Connections of ``absent_regions`` are left out but for the ids in ``kept``: the bill is there without its region.

    Raises AirflowError naming each placeholder that has no value and where it stands.
    """
    settings = yaml.safe_load(text)["airflow"]
    endings = tuple("_" + region.replace("-", "_") for region in absent_regions)
    connections = settings.get("connections") or []
    settings["connections"] = [c for c in connections if c["conn_id"] in kept or not c["conn_id"].endswith(endings)]
    missing: list[str] = []
    filled = _fill(settings, values, "airflow", missing)
    if missing:
        raise AirflowError(
            "airflow_settings.yaml has placeholders without a value:\n  "
            + "\n  ".join(missing)
            + "\nCorrect their spelling, or add them to variables_of() in lab/rehearsal/airflow_settings.py"
        )
    result: dict[str, Any] = filled
    return result


def _fill(value: Any, values: Mapping[str, str], path: str, missing: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(inner, values, f"{path}.{key}", missing) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, values, f"{path}[{n}]", missing) for n, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            missing.append(f"${{{name}}} in {path}")
            return ""
        return values[name]

    return re.sub(r"\$\{(\w+)\}", replace, value)


def load_settings(client: Client, settings: Mapping[str, Any]) -> None:
    """Create or update the connections, pools and variables of ``settings`` through the REST API."""
    for entry in settings.get("connections") or []:
        body = connection_body(entry)
        client.put("/connections", body, body["connection_id"])
    for entry in settings.get("pools") or []:
        body = {
            "name": entry["pool_name"],
            "slots": int(entry["pool_slot"]),
            "description": entry.get("pool_description"),
            "include_deferred": False,
        }
        client.put("/pools", body, entry["pool_name"])
    for entry in settings.get("variables") or []:
        body = {"key": entry["variable_name"], "value": entry["variable_value"]}
        client.put("/variables", body, entry["variable_name"])


def connection_body(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The REST API's body for one connection in the Astro CLI's shape."""
    names = {"conn_id": "connection_id", "conn_type": "conn_type", "conn_host": "host", "conn_schema": "schema"}
    names |= {"conn_login": "login", "conn_password": "password", "conn_port": "port", "conn_extra": "extra"}
    unknown = sorted(set(entry) - set(names))
    if unknown:
        raise AirflowError(
            f"airflow_settings.yaml: connection {entry.get('conn_id')} has unknown fields {', '.join(unknown)}; "
            f"known are {', '.join(names)}"
        )
    body = {names[key]: value for key, value in entry.items() if value not in (None, "")}
    if "port" in body:
        body["port"] = int(body["port"])
    if isinstance(body.get("extra"), dict):
        body["extra"] = json.dumps(body["extra"])
    return body


def connect(airflow: Running, state: Mapping[str, Any], folder: Path) -> None:
    """Load airflow_settings.yaml into ``airflow`` for the lab in ``folder`` that ``state`` describes."""
    estate = load_estate()
    absent = tuple(name for name in estate.regions if name not in state["regions"])
    # The cloud and Prometheus are there whichever regions are, and what is asked for once for the estate asks for them.
    kept = {export.connection for export in estate.cost.exports} | {estate.global_aws()}
    kept |= {region.connections.aws for region in estate.regions.values()}
    kept.add(estate.region(estate.canary_region).connections.prometheus)
    text = SETTINGS_FILE.read_text(encoding="utf-8")
    values = {**variables_of(state, airflow, folder), "LEDGER_KEY": signing_key(folder)}
    load_settings(airflow.client(), settings_for(text, values, absent, kept))
