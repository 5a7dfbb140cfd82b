"""How an HTTP server is reached and who asks: headers, login, certificates. Secrets stay out of messages and repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# Keys of a connection's extra that are options of Airflow's HttpHook; any other one is a header.
OPTIONS = {
    "allow_redirects",
    "cert",
    "check_response",
    "max_redirects",
    "proxies",
    "proxy",
    "srv_lookup",
    "stream",
    "timeout",
    "trust_env",
    "verify",
    "verify_ssl",
}
ANSWER = 200  # characters of an answer that a message shows


class AccessError(ValueError):
    """The connection can't be used; the message names the field and the remedy, never a value that may be secret."""


@dataclass(frozen=True)
class Access:
    """A server's address with what its requests carry.

    ``verify`` is True or the path of a CA bundle, ``cert`` a client certificate: one file, or certificate and key.
    """

    url: str
    auth: tuple[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    proxies: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def asks_who(self) -> bool:
        """Whether the server is given credentials: one that must know who asks."""
        return bool(self.auth or self.headers or self.cert)

    def options(self) -> dict[str, Any]:
        """The arguments of a request of ``requests``."""
        return {
            "auth": self.auth,
            "headers": dict(self.headers),
            "verify": self.verify,
            "cert": self.cert,
            "proxies": self.proxies,
        }

    def shown(self, text: str) -> str:
        """An answer's text in one short line, without what may not be shown."""
        secrets = [*self.headers.values(), *(self.auth or ())]
        parts = {part for secret in secrets for part in (secret, secret.rpartition(" ")[2]) if part}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "***")
        return " ".join(text.split())[:ANSWER]

    def refused(self, status: int, text: str, whose: str) -> str:
        """The message for a 401 or 403."""
        answered = self.shown(text)
        said = f"{status}: {answered}" if answered else str(status)
        return (
            f"{self.url} refuses the credentials ({said}): renew login and password, or the headers in the extra, of "
            f"{whose} connection"
        )


def access_of(conn: Any) -> Access:
    """The access of an Airflow connection of type http. Raises AccessError naming the field and the remedy."""
    if conn.conn_type == "aws":
        raise AccessError(
            "is of type aws, and requests signed by SigV4 (Amazon Managed Prometheus) can't be sent yet: give an http "
            "connection to a proxy that signs them, such as aws-sigv4-proxy"
        )
    extra = dict(conn.extra_dejson)
    return Access(
        url_of(conn),
        (conn.login, conn.password or "") if conn.login else None,
        {name: _header(name, value) for name, value in extra.items() if name not in OPTIONS},
        _verify(extra.get("verify", extra.get("verify_ssl", True))),
        _cert(extra.get("cert")),
        extra.get("proxies", extra.get("proxy")),
    )


def url_of(conn: Any) -> str:
    """The address of an http connection, such as ``https://prometheus.example:9090/path``: the port goes to the host.

    Raises AccessError for two ports, and for a login inside the host.
    """
    host = conn.host or ""
    if "://" not in host:
        host = f"{conn.schema or 'http'}://{host}"
    parts = urlsplit(host)
    if "@" in parts.netloc:
        raise AccessError("has a login in its host: put it into the fields login and password")
    place = parts.netloc
    if conn.port and parts.port not in (None, conn.port):
        raise AccessError(f"has port {parts.port} in its host and {conn.port} as its port: leave one of them out")
    if conn.port and parts.port is None:
        place = f"{place}:{conn.port}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), parts.query, ""))


def _header(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise AccessError(f"extra.{name} is sent as a header and must be text, not {type(value).__name__}")
    text = str(value)
    if text != text.strip() or not text.isprintable():
        raise AccessError(f"extra.{name} is sent as a header: take out line breaks and spaces around its value")
    return text


def _verify(value: Any) -> bool | str:
    if value is True or (isinstance(value, str) and value.lower() == "true"):
        return True
    if isinstance(value, str) and value.lower() != "false":
        return value
    raise AccessError("extra.verify turns the check of certificates off: name the file of the CA bundle instead")


def _cert(value: Any) -> str | tuple[str, str] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return value[0], value[1]
    raise AccessError("extra.cert must be the file of a client certificate, or a list of certificate and key")
