"""Processes of the lab: found again, named when they crash, gone afterwards."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import psutil
import pytest

from lab.machine.processes import Crashed, Processes, hold_port, reserved_ports

WAITING = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read(); import signal; signal.pause()"]


def test_ports_are_distinct_free_and_kept_from_other_labs() -> None:
    with reserved_ports(5) as first, reserved_ports(5) as second:
        assert len({*first, *second}) == 10
        for port in first:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))


def test_a_crashed_process_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("etcd", [sys.executable, "-c", "print('disk is full'); raise SystemExit(3)"])
    with pytest.raises(Crashed, match=r"etcd has ended; the last lines of its log:\n\s+disk is full"):
        processes.wait_until(lambda: False, "never", 30)


def test_stop_all_ends_processes_started_by_another_instance(tmp_path: Path) -> None:
    started = Processes(tmp_path).start("sleeper", WAITING)
    Processes(tmp_path).stop_all()
    assert not psutil.pid_exists(started.pid) or psutil.Process(started.pid).status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "processes.json").exists()


def test_a_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    started = processes.start("sleeper", WAITING)
    register = tmp_path / "processes.json"
    register.write_text(register.read_text().replace(str(started.created), str(started.created - 100)))
    Processes(tmp_path).stop_all()
    assert psutil.Process(started.pid).is_running()
    psutil.Process(started.pid).kill()


def test_a_condition_that_stays_false_is_named(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="the moon did not happen within 0 s"):
        Processes(tmp_path).wait_until(lambda: False, "the moon", 0)


def test_a_killed_process_is_started_again_as_it_was(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    code = "import os, signal; print(os.environ['GREETING'], os.getcwd(), flush=True); signal.pause()"
    first = processes.start("etcd", [sys.executable, "-c", code], {"GREETING": "hello"}, tmp_path)
    log = Path(first.log)
    processes.wait_until(lambda: log.read_text() == f"hello {tmp_path}\n", "the greeting", 30)
    processes.kill("etcd")
    with pytest.raises(Crashed):
        processes.check()
    second = Processes(tmp_path).restart("etcd")
    assert second.pid != first.pid
    Processes(tmp_path).wait_until(lambda: log.read_text() == f"hello {tmp_path}\n" * 2, "the second greeting", 30)
    Processes(tmp_path).stop_all()


def test_only_what_has_ended_is_started_again(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    for name in ("a-api", "a-updater", "a-recommender", "b-api"):
        processes.start(name, WAITING)
    kept = processes.started("a-recommender").pid
    assert processes.restart_ended("a-") == []
    processes.kill("a-updater")
    processes.kill("a-api")
    processes.kill("b-api")
    assert processes.restart_ended("a-") == ["a-api", "a-updater"]
    with pytest.raises(Crashed, match="b-api has ended"):
        processes.check()
    assert processes.started("a-recommender").pid == kept
    processes.stop_all()


def test_one_process_is_ended_with_its_children_and_forgotten(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "register", logs=tmp_path / "logs")
    started = processes.start("one", ["sh", "-c", "sleep 1000 & echo $!; wait"])
    log = tmp_path / "logs" / "one.log"
    processes.wait_until(lambda: log.read_text().endswith("\n"), "the child", 30)
    child = int(log.read_text())
    assert processes.running("one")
    processes.end("one")
    assert not processes.running("one")
    assert processes.registered() == []
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).is_running() for pid in (started.pid, child))
    processes.check()  # an ended process is no crashed one
    processes.end("one")


def test_a_held_port_is_chosen_by_nobody() -> None:
    with reserved_ports(1) as (port,):
        assert hold_port(port) is None
    mark = hold_port(port)
    assert mark is not None
    assert hold_port(port) is None
    mark.close()
