"""API servers behind a region's API server: how it is led to a program of this machine, and whether that answers."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from lab.cluster import telemetry, workloads
from lab.cluster.control_plane import ControlPlane


def registration(path: Path, name: str, namespace: str, authority: bytes, port: int) -> list[dict[str, Any]]:
    """The APIService of the file ``path``, and a Service ``name`` in place of its own that leads to this machine.

    The API server trusts ``authority`` (PEM) alone, whatever the file says.
    """
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    (registered,) = documents([path])
    registered["spec"].pop("insecureSkipTLSVerify", None)
    registered["spec"]["service"] = {"name": name, "namespace": namespace, "port": port}
    registered["spec"]["caBundle"] = base64.b64encode(authority).decode()
    return [service, registered]


def available(plane: ControlPlane, name: str) -> bool:
    """Whether the API server says that whoever serves the APIService ``name`` answers."""
    registered = client.ApiregistrationV1Api(workloads.api_client(plane.kubeconfig("admin")))
    conditions = registered.read_api_service(name).status.conditions or []
    return any((c.type, c.status) == ("Available", "True") for c in conditions)


def documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Every document of the YAML files."""
    found = (document for path in paths for document in yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return [document for document in found if document]


def answers(url: str, authority: Path | None = None) -> bool:
    """Whether a GET of ``url`` gets a 200; over HTTPS from somebody whom the PEM file ``authority`` vouches for."""
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    try:
        with urllib.request.urlopen(url, timeout=telemetry.ANSWER_SECONDS, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
