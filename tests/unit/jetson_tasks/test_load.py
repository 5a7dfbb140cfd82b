"""The load: from Prometheus or a file; whatever is wrong makes it unknown, never zero."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from jetson_tasks.desired import LoadSource
from jetson_tasks.load import LoadUnknown, load_of
from jetson_tasks.paths import Files

ASKED = LoadSource("prometheus", "http://prometheus:9090/", 'sum(rate(x{device="a"}[1m]))')
FILE = LoadSource("file", "/run/akidb.prom", "akidb_qps")
NOW = 1_796_000_000.0


def asked(result: object) -> float:
    def fetch(address: str) -> str:
        assert address == "http://prometheus:9090/api/v1/query?query=sum%28rate%28x%7Bdevice%3D%22a%22%7D%5B1m%5D%29%29"
        return json.dumps({"status": "success", "data": {"result": result}})

    return load_of(ASKED, Files("/nowhere"), NOW, 180, fetch)


def test_the_load_is_the_one_sample_of_the_query() -> None:
    assert asked([{"metric": {}, "value": [NOW, "118.5"]}]) == 118.5


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], 'sum(rate(x{device="a"}[1m])) has 0 series, not one'),
        ([{"value": [NOW, "1"]}, {"value": [NOW, "2"]}], 'sum(rate(x{device="a"}[1m])) has 2 series, not one'),
        ([{"value": [NOW, "NaN"]}], 'sum(rate(x{device="a"}[1m])) is nan'),
        ([{"value": [NOW, "-1"]}], 'sum(rate(x{device="a"}[1m])) is -1.0'),
        (None, 'is no vector: {"status": "success", "data": {"result": null}}'),
    ],
)
def test_an_answer_without_a_load_is_unknown(result: object, message: str) -> None:
    with pytest.raises(LoadUnknown) as unknown:
        asked(result)
    assert str(unknown.value).endswith(message)


def test_a_number_of_any_length_is_unknown() -> None:
    with pytest.raises(LoadUnknown, match="is no vector"):
        asked([{"value": [NOW, 10**400]}])


def test_prometheus_that_does_not_answer_is_unknown() -> None:
    nobody = LoadSource("prometheus", "http://127.0.0.1:1", "load")
    with pytest.raises(LoadUnknown, match=r"^Prometheus can't be asked: "):
        load_of(nobody, Files("/nowhere"), NOW, 180)


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_is_no_http_or_ends_early_is_unknown(answer: bytes) -> None:
    """A step that ends with another error would never come to the safe mode."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        somebody = LoadSource("prometheus", f"http://127.0.0.1:{server.getsockname()[1]}", "load")
        with pytest.raises(LoadUnknown, match=r"^Prometheus can't be asked: "):
            load_of(somebody, Files("/nowhere"), NOW, 180)
        serving.join()


def test_an_address_that_no_request_can_have_is_unknown() -> None:
    with pytest.raises(LoadUnknown, match=r"^Prometheus can't be asked: "):
        load_of(LoadSource("prometheus", "http://prometheus:9090/a b", "load"), Files("/nowhere"), NOW, 180)


def test_an_address_that_is_no_http_is_not_opened() -> None:
    with pytest.raises(LoadUnknown, match=r"^file:///etc/passwd/api/v1/query\?query=load is no http address$"):
        load_of(LoadSource("prometheus", "file:///etc/passwd", "load"), Files("/nowhere"), NOW, 180)


def from_file(root: Path, text: str, age: float = 0) -> float:
    path = root / "run/akidb.prom"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW - age, NOW - age))
    return load_of(FILE, Files(str(root)), NOW, 180)


def test_the_series_of_a_metric_in_a_file_are_added_up(tmp_path: Path) -> None:
    text = '# TYPE akidb_qps gauge\nakidb_qps{p="http"} 100\nakidb_qps{p="grpc"} 20.5\nakidb_qps_max 999\n'
    assert from_file(tmp_path, text) == 120.5
    assert from_file(tmp_path, "akidb_qps 7\n", age=180) == 7


def test_a_timestamp_is_no_load_and_labels_may_have_spaces(tmp_path: Path) -> None:
    assert from_file(tmp_path, "akidb_qps 7 1796000000000\n") == 7
    assert from_file(tmp_path, 'akidb_qps{p="a } b"} 100 1796000000000\nakidb_qps{}\t20.5\n') == 120.5


@pytest.mark.parametrize(
    ("text", "age", "message"),
    [
        ("akidb_qps 7\n", 181, "/run/akidb.prom is 181 s old"),
        ("akidb_qps 7\n", -181, "/run/akidb.prom is 181 s from the future"),
        ("other 7\n", 0, "/run/akidb.prom has no akidb_qps"),
        ("akidb_qps seven\n", 0, "has a akidb_qps that is no number"),
        ("akidb_qps \n", 0, "has a akidb_qps that is no number"),
        ('akidb_qps{p="http"}\n', 0, "has a akidb_qps that is no number"),
        ("akidb_qps NaN\n", 0, "akidb_qps is nan"),
    ],
)
def test_a_file_without_a_load_is_unknown(tmp_path: Path, text: str, age: float, message: str) -> None:
    with pytest.raises(LoadUnknown, match=message):
        from_file(tmp_path, text, age)


def test_a_file_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(LoadUnknown, match=r"^/run/akidb.prom can't be read: "):
        load_of(FILE, Files(str(tmp_path)), NOW, 180)
