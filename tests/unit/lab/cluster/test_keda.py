"""KEDA of the lab: who may call whom, by exact addresses, names and rights."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from lab.cluster import keda

REGION = "us-east-1"
PORTS = keda.Ports(health=20001, service=20002, adapter=20003, metrics=20004)


def test_each_listener_has_its_own_port_on_loopback_but_the_adapters_metrics() -> None:
    found = keda.commands(Path("/lab/keda.kubeconfig"), Path("/lab/keda"), PORTS)
    operator, adapter = found["keda-operator"], found["keda-adapter"]
    assert "--health-probe-bind-address=127.0.0.1:20001" in operator
    assert "--metrics-service-bind-address=127.0.0.1:20002" in operator
    assert "--enable-prometheus-metrics=false" in operator
    assert "--metrics-service-address=localhost:20002" in adapter
    assert {"--secure-port=20003", "--bind-address=127.0.0.1", "--port=20004"} <= set(adapter)
    assert len([part for part in adapter if part.endswith("kubeconfig=/lab/keda.kubeconfig")]) == 4


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of KEDA's module that are read, each with as little as is needed."""
    monkeypatch.setattr(keda, "shared_folder", lambda name: tmp_path / name)
    for path in ("keda-rbac/role", "keda-rbac/role_binding", "keda-rbac/aggregate_cluster_roles"):
        write(tmp_path / f"{path}.yaml", {"kind": path})
    for name in ("role", "role_binding"):
        write(tmp_path / f"keda-metrics-server/{name}.yaml", {"kind": name}, {"kind": f"another {name}"})
    spec = {"group": "external.metrics.k8s.io", "service": {"name": "keda-metrics-apiserver", "namespace": "keda"}}
    write(tmp_path / "keda-metrics-server/api_service.yaml", {"kind": "APIService", "spec": spec})
    return tmp_path


def write(path: Path, *documents: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("---\n" + yaml.safe_dump_all(documents))


def test_the_api_server_checks_the_adapter_on_this_machine(manifests: Path) -> None:
    service, registered = keda.registration(b"authority", 20003)
    assert service["spec"] == {"type": "ExternalName", "externalName": "localhost"}
    assert registered["spec"] == {
        "group": "external.metrics.k8s.io",
        "service": {"name": service["metadata"]["name"], "namespace": "keda", "port": 20003},
        "caBundle": base64.b64encode(b"authority").decode(),
    }


def test_kedas_own_roles_go_to_the_account_whose_name_is_in_the_certificate(manifests: Path) -> None:
    found = keda.rights()
    assert [document["kind"] for document in found] == [
        *("Namespace", "ServiceAccount", "keda-rbac/role", "keda-rbac/role_binding"),
        *("keda-rbac/aggregate_cluster_roles", "role", "another role", "role_binding", "another role_binding"),
    ]
    account = found[1]["metadata"]
    assert f"system:serviceaccount:{account['namespace']}:{account['name']}" == keda.USER


def test_the_certificate_is_valid_for_the_service_that_the_api_server_asks(tmp_path: Path) -> None:
    authority = keda.write_certificates(tmp_path, REGION)
    assert ssl.create_default_context(cadata=authority.decode()).get_ca_certs()
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "keda-metrics-apiserver.keda.svc" in names.get_values_for_type(x509.DNSName)
    assert (tmp_path / "tls.key").stat().st_mode & 0o077 == 0
