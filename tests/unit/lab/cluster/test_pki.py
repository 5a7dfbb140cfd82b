"""Certificates of the lab: a client's name and groups, the server's addresses, and private files."""

from __future__ import annotations

import stat
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.cluster import pki


def test_a_client_certificate_carries_user_and_groups_and_verifies_against_its_authority_only() -> None:
    authority, other = pki.Authority("one"), pki.Authority("two")
    certificate = x509.load_pem_x509_certificate(authority.issue("admin", ("system:masters",)).certificate)
    subject = certificate.subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["admin"]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:masters"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    assert certificate.issuer != x509.load_pem_x509_certificate(other.certificate).subject


def test_a_server_certificate_is_valid_on_loopback() -> None:
    certificate = x509.load_pem_x509_certificate(pki.Authority("one").issue("api", server=True).certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.0.0.1"]


def test_programs_of_one_service_serve_under_its_name_and_call_each_other() -> None:
    pair = pki.Authority("one").issue_service("keda", ("adapter.keda.svc",))
    extensions = x509.load_pem_x509_certificate(pair.certificate).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "adapter.keda.svc"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_a_kubeconfig_checks_the_server_and_never_skips_it() -> None:
    authority = pki.Authority("one")
    config = yaml.safe_load(
        pki.kubeconfig("https://127.0.0.1:1", authority.certificate, "admin", authority.issue("admin"), "akidb")
    )
    cluster = config["clusters"][0]["cluster"]
    assert set(cluster) == {"server", "certificate-authority-data"}


def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = pki.private_file(tmp_path / "deep" / "key", b"k")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
