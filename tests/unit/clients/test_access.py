"""How an http connection becomes address, login, headers and certificates, as Airflow's HttpHook reads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.access import Access, AccessError, access_of, url_of


def conn(host: str = "https://prom.example", **fields: Any) -> Any:
    extra = fields.pop("extra", {})
    known = {"conn_type": "http", "schema": None, "port": None, "login": None, "password": None}
    return SimpleNamespace(host=host, extra_dejson=extra, **known | fields)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://mimir.example/prometheus", "port": 443}, "https://mimir.example:443/prometheus"),
        ({"host": "https://mimir.example:9009/prometheus/"}, "https://mimir.example:9009/prometheus"),
        ({"host": "https://mimir.example:9009/prometheus", "port": 9009}, "https://mimir.example:9009/prometheus"),
        ({"host": "prom", "schema": "https", "port": 9090}, "https://prom:9090"),
        ({"host": "prom"}, "http://prom"),
        ({"host": "http://[::1]", "port": 9090}, "http://[::1]:9090"),
    ],
)
def test_a_port_goes_behind_the_host_and_a_path_stays_behind_both(fields: dict[str, Any], url: str) -> None:
    assert url_of(conn(**fields)) == url


def test_keys_of_the_extra_are_headers_but_for_the_hooks_options() -> None:
    extra = {
        "X-Scope-OrgID": "prod",
        "Authorization": "Bearer abc",
        "X-Shard": 3,
        "verify": "/etc/ca.pem",
        "cert": ["/etc/tls.crt", "/etc/tls.key"],
        "timeout": 5,
        "proxies": {"https": "http://proxy:3128"},
    }
    access = access_of(conn(login="reader", password="pw", extra=extra))
    assert access.options() == {
        "auth": ("reader", "pw"),
        "headers": {"X-Scope-OrgID": "prod", "Authorization": "Bearer abc", "X-Shard": "3"},
        "verify": "/etc/ca.pem",
        "cert": ("/etc/tls.crt", "/etc/tls.key"),
        "proxies": {"https": "http://proxy:3128"},
    }
    assert access.asks_who is True
    assert access_of(conn()).options() == {"auth": None, "headers": {}, "verify": True, "cert": None, "proxies": None}
    assert access_of(conn()).asks_who is False


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conn_type": "aws"}, r"type aws, and requests signed by SigV4 .* can't be sent yet: give an http connection"),
        ({"extra": {"verify": False}}, "extra.verify turns the check of certificates off: name the file"),
        ({"extra": {"verify": "false"}}, "extra.verify turns the check of certificates off"),
        ({"extra": {"X-Key": {"hunter2": 1}}}, "extra.X-Key is sent as a header and must be text, not dict"),
        ({"extra": {"X-Key": "hunter2\n"}}, "extra.X-Key is sent as a header: take out line breaks"),
        ({"extra": {"cert": ["hunter2"]}}, "extra.cert must be the file of a client certificate, or a list"),
        ({"host": "https://me:hunter2@prom.example"}, "has a login in its host: put it into the fields login"),
        ({"host": "https://prom.example:1", "port": 2}, "has port 1 in its host and 2 as its port: leave one of them"),
    ],
)
def test_what_can_not_be_is_refused_by_its_field_without_its_value(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AccessError, match=message) as refused:
        access_of(conn(**fields))
    assert "hunter2" not in str(refused.value)


def test_secrets_are_neither_in_repr_nor_in_what_the_server_answered() -> None:
    access = Access("https://prom", ("reader", "hunter2"), {"Authorization": "Bearer hunter3"})
    assert "hunter" not in repr(access)
    refused = access.refused(403, 'token "hunter3" of\nreader:hunter2 is unknown', "its Prometheus")
    assert refused == (
        'https://prom refuses the credentials (403: token "***" of ***:*** is unknown): renew login and password, or '
        "the headers in the extra, of its Prometheus connection"
    )
