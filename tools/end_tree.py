"""End a process and everything that it started, in whatever sessions: ``python -m tools.end_tree PID``.

The lab's programs run in sessions of their own, so that a signal to a process group does not reach them.
"""

from __future__ import annotations

import sys

import psutil

GRACE_SECONDS = 10.0


def end_tree(pid: int, grace: float = GRACE_SECONDS) -> int:
    """End ``pid`` and its descendants, by force after ``grace`` seconds; returns how many there were."""
    try:
        top = psutil.Process(pid)
        processes = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        _signal(process, force=False)
    for process in psutil.wait_procs(processes, timeout=grace)[1]:
        _signal(process, force=True)
    return len(processes)


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass  # it has ended by itself, or its pid belongs to another process now


def main(arguments: list[str]) -> int:
    """End the process that the only argument names; 2 when that is no process id."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        print("end_tree: give one process id", file=sys.stderr)
        return 2
    end_tree(int(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
