"""A failed task's reason from its log, as Airflow 3.3 writes it: by exact texts."""

from __future__ import annotations

import json
from typing import Any

from lab.rehearsal.reasons import CALLBACK, reason

PLACE = "/lab/rehearsal/airflow/task-logs/dag_id=day5/run_id=r/task_id=t/attempt=2.log"


def line(event: str, level: str = "info", **more: Any) -> dict[str, Any]:
    return {"timestamp": "2026-11-27T11:15:22.931969Z", "level": level, "event": event, **more}


def error(name: str, value: str, is_cause: bool = False, **more: Any) -> dict[str, Any]:
    frame = {"filename": "/opt/akidb/include/levers/owned.py", "lineno": 41, "name": "apply"}
    return {"exc_type": name, "exc_value": value, "is_cause": is_cause, "frames": [frame], **more}


# What stands at the top and the end of each task's log.
START = [
    {"event": "::group::Log message source details"},
    {"event": "/lab/rehearsal/airflow/task-logs/dag_id=rollback/run_id=r/task_id=find_changes/attempt=1.log"},
    {"event": "::endgroup::"},
    line("::group::Pre Execute"),
    line("DAG bundles loaded: dags-folder", logger="airflow.dag_processing.bundles.manager.DagBundlesManager"),
    line(
        "Filling up the DagBag from /opt/akidb/dags/operations/rollback.py",
        logger="airflow.dag_processing.dagbag.BundleDagBag",
    ),
    line("::endgroup::"),
]
END = [
    line("::group::Post Execute"),
    line("us_east_1.undo_changes failed in rollback/r; its own message and, in a rollout, the task 'verdict' say what "
         "was left behind", "error", logger="include.wiring.conventions"),
    line("::endgroup::"),
]  # fmt: skip


def failed(*details: dict[str, Any]) -> list[dict[str, Any]]:
    return [*START, line("Task failed with exception", "error", error_detail=list(details)), *END]


def test_the_exception_is_the_reason_and_not_the_dagbags_lines() -> None:
    assert reason(failed(error("KeyError", "'apiVersion'")), PLACE) == "KeyError: 'apiVersion'"


def test_the_engines_own_message_needs_no_class() -> None:
    text = "preflight refused, 1 check(s) failed and nothing was changed:\nus-east-1: lock: held -> wait"
    assert reason(failed(error("AirflowFailException", text)), PLACE) == text


def test_a_cause_is_named_once_and_only_where_it_says_something_else() -> None:
    same = [error("AirflowFailException", "gate of step 2 is fail"), error("Refused", "gate of step 2 is fail", True)]
    assert reason(failed(*same), PLACE) == "gate of step 2 is fail"
    other = [
        error("UnreachableError", "cluster a can't be reached"),
        error("MaxRetryError", "connection refused", True),
        error("ConnectionRefusedError", "[Errno 111] Connection refused"),
    ]
    assert reason(failed(*other), PLACE) == (
        "UnreachableError: cluster a can't be reached; caused by MaxRetryError: connection refused; "
        "caused by ConnectionRefusedError: [Errno 111] Connection refused"
    )


def test_exceptions_in_a_group_are_named() -> None:
    group = error(
        "ExceptionGroup",
        "two regions (2 sub-exceptions)",
        exceptions=[[error("Refused", "a")], [error("KeyError", "'b'")]],
    )
    assert reason(failed(group), PLACE) == (
        "ExceptionGroup: two regions (2 sub-exceptions); caused by Refused: a; caused by KeyError: 'b'"
    )


def test_an_exception_without_a_message_is_named_by_its_class() -> None:
    assert reason(failed(error("AssertionError", "")), PLACE) == "AssertionError"


def test_a_time_out_says_so_with_what_was_done_last() -> None:
    lines = [*START, line("waiting for 3 pods of akidb-rest"), line("Process timed out", "error", pid=4711)]
    lines += failed(error("AirflowTaskTimeout", "Timeout, PID: 4711"))[len(START):]  # fmt: skip
    assert reason(lines, PLACE) == (
        "AirflowTaskTimeout: it took longer than its execution_timeout; the last line before: "
        "waiting for 3 pods of akidb-rest"
    )
    assert reason(failed(error("AirflowTaskTimeout", "Timeout, PID: 4711")), PLACE) == (
        "AirflowTaskTimeout: it took longer than its execution_timeout"
    )


def test_the_error_of_a_listener_is_not_the_reason() -> None:
    listener = line("error calling listener", "error", error_detail=[error("OSError", "no lineage")])
    assert reason([*START, listener, *failed(error("KeyError", "'x'")), listener], PLACE) == "KeyError: 'x'"
    assert reason([*START, listener], PLACE) == "OSError: no lineage"


def test_a_killed_task_names_the_signal_what_it_did_last_and_its_log() -> None:
    killed = line(
        "Process terminated by signal. Likely out of memory error (OOM). For more information, see https://a/b",
        "critical",
        signal=-9,
        signal_name="SIGKILL",
    )
    assert reason([*START, line("draining ip-10-0-0-7"), killed], PLACE) == (
        f"Process terminated by signal SIGKILL; the last line before: draining ip-10-0-0-7; see {PLACE}"
    )
    assert reason([*START, killed], PLACE) == f"Process terminated by signal SIGKILL; see {PLACE}"


def test_a_task_that_ended_without_any_trace_says_so_and_names_its_log() -> None:
    nothing = "its process ended without a trace of why: killed, or lost with its machine"
    assert reason([*START, line("draining ip-10-0-0-7")], PLACE) == (
        f"{nothing}; the last line before: draining ip-10-0-0-7; see {PLACE}"
    )
    assert reason(START, PLACE) == f"{nothing}; see {PLACE}"
    assert reason([], PLACE) == f"{nothing}; see {PLACE}"


def test_without_an_exception_the_last_error_is_the_reason() -> None:
    lines = [
        *START,
        line("Server indicated the task shouldn't be running anymore. Terminating process", "error", detail={}),
        line("Task killed!", "error"),
    ]
    assert reason(lines, PLACE) == "Task killed!"
    assert reason([*START, line("Failed to import: /opt/akidb/dags/rollback.py", "error"), *END], PLACE) == (
        "Failed to import: /opt/akidb/dags/rollback.py"
    )


def test_the_lines_of_a_log_file_are_read_like_those_of_the_api() -> None:
    lines = [json.dumps(entry) for entry in failed(error("KeyError", "'apiVersion'"))]
    assert reason(lines, PLACE) == "KeyError: 'apiVersion'"


PLAIN = f"""\
2026-11-27T11:15:22.931969Z [info     ] DAG bundles loaded: dags-folder [airflow.dag_processing]
2026-11-27T11:15:22.991969Z [info     ] Filling up the DagBag from /opt/akidb/dags/rollback.py
2026-11-27T11:15:23.031969Z [info     ] draining ip-10-0-0-7
2026-11-27T11:15:23.931969Z [error    ] Task failed with exception [task]
Traceback (most recent call last):
  File "/opt/akidb/include/clients/kubernetes.py", line 370, in _identity
    api_version = body["apiVersion"]
KeyError: 'apiVersion'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/akidb/include/rollout/steps.py", line 300, in undo_changes
    raise RestoreError(text) from error
include.rollout.steps.RestoreError: us-east-1: 2 objects are not back:
akidb-rest, akidb-grpc
2026-11-27T11:15:23.931969Z [error    ] undo failed in rollback/r; {CALLBACK}
"""


def test_a_traceback_in_plain_text_gives_the_outermost_exception_and_its_cause() -> None:
    assert reason(PLAIN.splitlines(), PLACE) == (
        "RestoreError: us-east-1: 2 objects are not back:\nakidb-rest, akidb-grpc; caused by KeyError: 'apiVersion'"
    )


def test_an_older_traceback_in_plain_text_is_no_cause() -> None:
    text = """\
[2026-11-27T11:15:22.931+0000] {listener.py:10} ERROR - error calling listener
Traceback (most recent call last):
  File "/opt/akidb/listener.py", line 1, in on_start
OSError: no lineage
[2026-11-27T11:15:23.931+0000] {task.py:10} ERROR - Task failed with exception
Traceback (most recent call last):
  File "/opt/akidb/x.py", line 1, in x
ValueError: 3 is not 4
[2026-11-27T11:15:23.940+0000] {task.py:12} INFO - ::group::Post Execute
this line belongs to nothing
"""
    assert reason(text.splitlines(), PLACE) == "ValueError: 3 is not 4"


def test_a_traceback_as_text_in_a_structured_line() -> None:
    text = 'Traceback (most recent call last):\n  File "/x.py", line 1, in x\nValueError: 3 is not 4'
    lines = [*START, line("Task failed with exception", "error", exception=text), *END]
    assert reason(lines, PLACE) == "ValueError: 3 is not 4"


def test_plain_lines_of_a_killed_task() -> None:
    assert reason(PLAIN.splitlines()[:3], PLACE) == (
        "its process ended without a trace of why: killed, or lost with its machine; the last line before: "
        f"draining ip-10-0-0-7; see {PLACE}"
    )
