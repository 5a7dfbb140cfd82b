"""API servers behind the API server: reached on this machine, and trusted by their own authority alone."""

from __future__ import annotations

import base64
from pathlib import Path

from lab.cluster import api_services, metrics_server

FILE = """
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec: {service: {name: metrics-server, namespace: kube-system}, insecureSkipTLSVerify: true}
"""


def test_a_certificate_is_checked_though_the_manifest_would_not(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(FILE)
    service, registered = api_services.registration(tmp_path / "one.yaml", "m", "kube-system", b"authority", 20005)
    assert service["spec"] == {"type": "ExternalName", "externalName": "localhost"}
    assert registered["spec"] == {
        "service": {"name": "m", "namespace": "kube-system", "port": 20005},
        "caBundle": base64.b64encode(b"authority").decode(),
    }


def test_metrics_server_listens_on_loopback_and_asks_kwok_at_the_address_that_a_node_shows() -> None:
    found = metrics_server.arguments(Path("/lab/user.kubeconfig"), Path("/lab/files"), 20005)
    assert {"--secure-port=20005", "--bind-address=127.0.0.1"} <= set(found)
    assert "--kubelet-preferred-address-types=ExternalDNS" in found
    assert found[-2:] == ["--metric-resolution=10s", "--kubelet-request-timeout=9s"]
