"""The agent's commands.

python3 -m jetson_tasks apply     the desired state on standard input: checked, kept, carried out once
python3 -m jetson_tasks status    what the device is now; changes nothing
python3 -m jetson_tasks measure   watts and capacity of each mode, on a device that is out of service
python3 -m jetson_tasks remove    forget the desired state and the status
python3 -m jetson_tasks run       carry the desired state out again and again, until a signal ends it

Exit codes: 0 as desired, 2 refused and nothing written, 3 not as asked, 4 a reboot is pending, 5 nothing can be
written, 6 unknown board, 8 the clock is wrong or the desired state has expired. Output is JSON unless the code is 2.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from typing import Any, Mapping

from jetson_tasks.agent import Agent, exit_code
from jetson_tasks.board import Board, BoardError, UnknownBoard
from jetson_tasks.decisions import EXIT_CODES, NOT_PERSISTED, REFUSED, Problem
from jetson_tasks.desired import RefusedState
from jetson_tasks.measure import Measurement, Plan
from jetson_tasks.nvpmodel import ConfError
from jetson_tasks.paths import Files

SECONDS_VARIABLE = "JETSON_TASKS_SECONDS"
DEFAULT_SECONDS = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    files = Files()
    board = Board(files)
    agent = Agent(files, board)
    try:
        with files.alone():
            if options.command != "run":
                return int(_COMMANDS[options.command](options, files, board, agent))
    except RefusedState as error:
        print(error, file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"{error}: is the agent's folder there, and may this user write to it?", file=sys.stderr)
        return NOT_PERSISTED
    return run(agent, files, _interval())


def run(agent: Agent, files: Files, seconds: float) -> int:
    """Step every ``seconds`` until SIGTERM or SIGINT; a step that has begun is finished first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    status: Mapping[str, Any] = {}
    while True:
        with files.alone():
            status, before = agent.step(), status
        if (before.get("mode"), before.get("error")) != (status["mode"], status["error"]):
            _print({name: status[name] for name in ("at", "generation", "mode", "why", "error")})
        if stop.wait(seconds):
            return 0 if status["persisted"] else NOT_PERSISTED


def _apply(_options: argparse.Namespace, _files: Files, _board: Board, agent: Agent) -> int:
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise RefusedState(f"the desired state is no text in UTF-8 ({error}): write it again") from error
    status = agent.apply(text)
    _print(status)
    return exit_code(status)


def _status(_options: argparse.Namespace, _files: Files, _board: Board, agent: Agent) -> int:
    status = agent.status()
    _print(status)
    return exit_code(status) if status["mode"] is None else 0


def _remove(_options: argparse.Namespace, _files: Files, _board: Board, agent: Agent) -> int:
    agent.remove()
    _print({"removed": True})
    return 0


def _measure(options: argparse.Namespace, files: Files, board: Board, agent: Agent) -> int:
    modes = [name for name in options.modes.split(",") if name]
    try:
        look = agent.look()
    except UnknownBoard as error:
        return _failed("unknown_board", error)
    except (ConfError, BoardError) as error:
        return _failed("conf_invalid" if isinstance(error, ConfError) else "nvpmodel_failed", error)
    unknown = [name for name in modes if name not in look.conf.modes]
    if unknown:
        raise RefusedState(f"--modes {','.join(unknown)}: this device has {', '.join(look.conf.modes)}")
    result = Measurement(files, board, Plan(options.seconds, options.settle, modes, options.bench)).run(look)
    _print(result)
    return exit_code(result)


def _failed(code: str, error: Exception) -> int:
    _print({"error": Problem(code, str(error)).as_json()})
    return EXIT_CODES[code]


_COMMANDS = {"apply": _apply, "status": _status, "remove": _remove, "measure": _measure}


def _interval() -> float:
    return float(os.environ.get(SECONDS_VARIABLE) or DEFAULT_SECONDS)


def _print(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, sort_keys=True), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jetson_tasks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("apply", "status", "remove", "run"):
        commands.add_parser(name)
    measure = commands.add_parser("measure")
    measure.add_argument("--seconds", type=float, default=60, help="of each figure (default: 60)")
    measure.add_argument("--settle", type=float, default=20, help="after a switch (default: 20)")
    measure.add_argument("--modes", default="", help="names separated by commas (default: all)")
    measure.add_argument("--bench", help="the bench program; without it watts and capacity are unknown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
