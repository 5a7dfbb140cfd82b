"""Builds the lab's programs: two groups at a time, so that the links of one run beside the compiles of the next.

    python -m lab.machine.build

Standard library only. A group of ``lab/go`` is one ``go build``, whose links overlap by themselves. While the first
group compiles, the modules of all others are fetched. At the end Go's folders are removed; the programs stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from lab.machine import archive, estimate, go, lighter
from lab.machine.programs import (
    GO_MODULES,
    SHARED_FILES,
    BuildError,
    Program,
    cache_root,
    missing_folders,
    missing_programs,
    path_in_cache,
    shared_folder,
)

AT_ONCE = 2
# What each group takes at its largest, rounded up: Go's build cache and modules, the link, and the programs.
DISK_MIB = {
    "kubernetes": 3600,
    "karpenter": 1300,
    "keda": 1300,
    "prometheus": 1000,
    "opencost": 700,
    "kwok": 700,
    "metrics-server": 700,
    "vpa": 600,
    "etcd": 400,
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One ``go build``: programs of one group with the same flags."""

    programs: tuple[Program, ...]

    @property
    def group(self) -> str:
        """The folder of lab/go."""
        return self.programs[0].group

    @property
    def seconds(self) -> int:
        """Of the reference machine."""
        return sum(program.seconds for program in self.programs)

    def __str__(self) -> str:
        return f"{', '.join(program.name for program in self.programs)} {self.programs[0].version}"


def jobs_of(programs: Sequence[Program]) -> list[Job]:
    """The jobs that build ``programs``, the longest first: the short ones fill the end."""
    by_flags: dict[tuple[str, str, str], list[Program]] = {}
    for program in programs:
        by_flags.setdefault((program.group, program.tags, program.ldflags), []).append(program)
    jobs = [Job(tuple(same)) for same in by_flags.values()]
    return sorted(jobs, key=lambda job: -job.seconds)


def built_name(package: str) -> str:
    """The name that ``go build`` gives the program of ``package``: its last part that is no major version."""
    parts = package.split("/")
    return parts[-2] if parts[-1][:1] == "v" and parts[-1][1:].isdigit() else parts[-1]


@dataclass
class BuildProgress:
    """What is built and what is under way, told in lines."""

    programs: Sequence[Program]
    say: Say
    begun: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, job: Job) -> None:
        """A job begins."""
        with self.lock:
            self.running[job.group] = time.monotonic()
            self._tell(f"building {job}")

    def built(self, job: Job, program: Program) -> None:
        """A program of the job is there; the next one of the job begins."""
        with self.lock:
            now = time.monotonic()
            self.seconds[program.name] = round(now - self.running[job.group], 1)
            self.running[job.group] = now
            self._tell(f"  {program.name} built in {self.seconds[program.name]:.0f} s")

    def end(self, job: Job) -> None:
        """A job has ended."""
        with self.lock:
            self.running.pop(job.group, None)

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        reference = {program.name: float(program.seconds) for program in self.programs}
        left = estimate.to_go(reference, self.seconds, [now - begun for begun in self.running.values()], AT_ONCE)
        count = f"{len(self.seconds)} of {len(self.programs)}"
        self.say(f"  {text}   ({count}; elapsed {(now - self.begun) / 60:.1f} min, about {left / 60:.1f} min to go)")


class Builder:
    """One set-up's builds."""

    def __init__(self, programs: Sequence[Program], folders: Sequence[str], say: Say) -> None:
        self.jobs = jobs_of(programs)
        self.folders = folders
        self.commands = go.Commands(go.free_memory_mib())
        self.progress = BuildProgress(programs, say)
        self.seconds: dict[str, float] = {}
        self._copying = threading.Lock()
        self._copied: set[str] = set()

    def run(self) -> dict[str, float]:
        """Build and share everything; seconds of each step. Raises BuildError of the first job that failed."""
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            first = [pool.submit(self._build, job) for job in self.jobs[:1]]
            fetching = [pool.submit(self._fetch, job) for job in self.jobs[1:]]
            rest = [pool.submit(self._build, job) for job in self.jobs[1:]]
            sharing = [pool.submit(self._share, name) for name in self.folders]
            try:
                self._finish([*first, *fetching, *rest, *sharing])
            except BaseException:
                self.commands.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return {**self.progress.seconds, **self.seconds}

    @staticmethod
    def _finish(futures: list[Future[None]]) -> None:
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = [future.exception() for future in futures if future.done() and future.exception()]
        if failed:
            raise failed[0]  # type: ignore[misc]

    def _where(self, job: Job) -> Path:
        """The folder of the job's go.mod; a lighter copy is made at the first call."""
        group = GO_MODULES / job.group
        if lighter.recipe_folder(group) is None:
            return group
        target = go.folder() / "copies" / job.group
        with self._copying:
            if job.group not in self._copied:
                module = self._module_folder(job.group, lighter.load(group / lighter.FOLDER).module)
                try:
                    lighter.make(group, module, target)
                except lighter.RecipeError as error:
                    raise BuildError(f"lab/go/{job.group}/{lighter.FOLDER}: {error}") from error
                self._copied.add(job.group)
        return target

    def _module_folder(self, group: str, module: str) -> Path:
        self.commands.run(["mod", "download", module], GO_MODULES / group, f"fetching {module}")
        found = self.commands.run(["list", "-m", "-f", "{{.Dir}}", module], GO_MODULES / group, f"locating {module}")
        return Path(found.strip())

    def _fetch(self, job: Job) -> None:
        """Download what the job compiles. What can't be fetched is reported by its build, which tries again."""
        packages = [program.package for program in job.programs]
        with contextlib.suppress(BuildError):
            where = self._where(job)
            self.commands.run(["list", "-deps", *_tags(job), *packages], where, f"fetching the modules of {job}")

    def _build(self, job: Job) -> None:
        self.progress.start(job)
        out = go.folder() / "out" / job.group
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        waiting = list(job.programs)

        def look() -> None:
            for program in [p for p in waiting if (out / built_name(p.package)).exists()]:
                waiting.remove(program)
                self.progress.built(job, program)

        arguments = ["build", *go.COMPILE, *_tags(job), "-ldflags", job.programs[0].ldflags, "-o", f"{out}/"]
        what = f"building {job.programs[0].name} {job.programs[0].version}"
        self.commands.run([*arguments, *(p.package for p in job.programs)], self._where(job), what, look)
        look()
        for program in job.programs:
            target = path_in_cache(program)
            target.parent.mkdir(parents=True, exist_ok=True)
            (out / built_name(program.package)).rename(target)  # atomic: half a program is never there
        self.progress.end(job)

    def _share(self, name: str) -> None:
        begun = time.monotonic()
        group, module, folder = SHARED_FILES[name]
        source = self._module_folder(group, module) / folder
        target = shared_folder(name)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        shutil.copytree(source, partial)
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        self.seconds[name] = round(time.monotonic() - begun, 1)


def _tags(job: Job) -> list[str]:
    return ["-tags", job.programs[0].tags] if job.programs[0].tags else []


def check_disk(programs: Sequence[Program], say: Say, free_mib: float | None = None) -> None:
    """Say what the builds of ``programs`` take. Raises BuildError when the cache's disk has no room for it."""
    root = cache_root()
    needed = sum(DISK_MIB[group] for group in {program.group for program in programs})
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free / 2**20 if free_mib is None else free_mib
    room = f"{needed / 1024:.1f} GB in {root}, and {free / 1024:.1f} GB are free"
    if free < needed:
        raise BuildError(
            f"building the lab's programs needs {room}.\n"
            "Make room, or name a folder on another disk: make setup AKIDB_CACHE=/path/to/folder. Most of it is Go's, "
            "which is removed at the end; LAB_PROGRAMS= installs built programs instead, in 2 GB."
        )
    say(f"  needs up to {room}; most of it is Go's and is removed at the end")


@contextlib.contextmanager
def alone(say: Say) -> Iterator[None]:
    """Hold the cache: a second set-up waits, since the first one removes Go's folders at its end."""
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "build.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  another set-up builds in {root}: waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def provide_all(say: Say = print) -> dict[str, float]:
    """Install or build what is missing, with lines as it goes; seconds of each step, empty when nothing was to do."""
    if not missing_programs() and not missing_folders():
        return {}
    with alone(say):
        seconds = archive.install_named(say)
        programs, folders = missing_programs(), missing_folders()
        if programs or folders:
            check_disk(programs, say)
            seconds |= Builder(programs, folders, say).run()
            go.remove_folder()
    return seconds


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        print(json.dumps(provide_all(lambda line: print(line, flush=True))))
    except BuildError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
