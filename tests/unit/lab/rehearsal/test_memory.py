"""The peak of memory: the largest sum with its parts at that moment."""

from __future__ import annotations

import os

import pytest

from lab.rehearsal import memory
from lab.rehearsal.memory import PeakMemory


def test_the_peak_is_that_of_the_sum_and_keeps_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {1: 3000, 2: 900}
    monkeypatch.setattr(memory, "mib_of", lambda pids: sum(of[pid] for pid in pids))
    found = PeakMemory(lambda: {"lab": [1], "airflow": [2]})
    assert found.to_json() == {}
    found.look()
    of[1], of[2] = 2800, 1500
    found.look()
    of[1], of[2] = 3100, 1000
    found.look()
    assert found.to_json() == {"lab": 2800, "airflow": 1500, "total": 4300, "limit": 8192, "within_limit": True}
    of[1] = 8000
    found.look()
    assert found.to_json()["within_limit"] is False


def test_a_process_counts_once_and_one_that_is_gone_counts_nothing() -> None:
    own = os.getpid()
    assert [process.pid for process in memory.family([own, own])].count(own) == 1
    assert memory.mib_of([own]) > 10
    assert memory.mib_of([2**30]) == 0
