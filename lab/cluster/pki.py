"""Certificates of one region: its own authority, the API server's certificate and a certificate per client."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 30
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Pair:
    """A PEM certificate and its PEM key."""

    certificate: bytes
    key: bytes


def private_file(path: Path, content: bytes) -> Path:
    """Write ``content`` so that only this user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return path


def write_service(folder: Path, authority: str, name: str, hosts: tuple[str, ...] = ()) -> bytes:
    """Write ca.crt, tls.crt and tls.key of a service with an authority of its own; returns the authority's PEM."""
    made = Authority(authority)
    pair = made.issue_service(name, hosts)
    for file, content in {"ca.crt": made.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}.items():
        private_file(folder / file, content)
    return made.certificate


class Authority:
    """A certificate authority in memory; only what is issued is written."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, user: str, groups: tuple[str, ...] = (), server: bool = False) -> Pair:
        """A certificate for ``user`` in ``groups``; for an API server it is valid on loopback."""
        if server:
            return self._issue(
                user, groups, [_SERVER], ("localhost", "kubernetes.default.svc", "127.0.0.1", "10.0.0.1")
            )
        return self._issue(user, groups, [_CLIENT])

    def issue_service(self, name: str, hosts: tuple[str, ...]) -> Pair:
        """A certificate with which programs of one service serve on loopback and as ``hosts``, and call each other."""
        return self._issue(name, (), [_SERVER, _CLIENT], ("localhost", *hosts, "127.0.0.1"))

    def _issue(
        self, user: str, groups: tuple[str, ...], usages: list[x509.ObjectIdentifier], hosts: tuple[str, ...] = ()
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, user)]
            + [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        )
        builder = _builder(subject, self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage(usages), critical=False
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_host, hosts)), critical=False)
        return Pair(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key))


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def service_account_key() -> bytes:
    """A PEM key with which the API server signs service account tokens."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def kubeconfig(server: str, authority: bytes, user: str, pair: Pair, cluster: str) -> bytes:
    """A kubeconfig that checks the server's certificate and carries the client's own."""

    def encode(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": encode(authority)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": encode(pair.certificate), "client-key-data": encode(pair.key)},
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
