"""PostgreSQL for the rehearsal's Airflow: Debian's programs, a cluster of its own below the lab's folder.

It listens on loopback alone, without a Unix socket, and asks every client for its password (SCRAM-SHA-256). PostgreSQL
refuses to run as root: where the rehearsal does, the server runs as ``postgres`` or ``nobody`` instead. Data and
password are gone after the stop; the log stays.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

from lab.machine.processes import Processes, reserved_ports

HOST = "127.0.0.1"
NAME = "postgresql"  # of the process, and of the value of DATABASE
USER, DATABASE = "airflow", "airflow"
PROGRAMS = ("initdb", "postgres")
DEBIAN = Path("/usr/lib/postgresql")
SERVERS = ("postgres", "nobody")  # users that a server started by root may run as, the first that exists
READY_SECONDS, STOP_SECONDS = 30, 15
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",  # components, and up to three connections for each task
    "fsync": "off",  # nothing of a rehearsal outlives the machine
    "log_min_messages": "warning",
}


class PostgreSQLError(RuntimeError):
    """The database can't be had; the message says why and what to do."""


def programs(roots: Iterable[Path] | None = None) -> Path | None:
    """The folder that holds PostgreSQL's programs, the newest of Debian's first; None when it is not installed."""
    found = DEBIAN.glob("*/bin") if roots is None else roots
    newest = sorted(found, key=lambda folder: (len(folder.parent.name), folder.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    candidates = [*newest, *([Path(on_path).resolve().parent] if on_path and roots is None else [])]
    return next((one for one in candidates if all((one / name).is_file() for name in PROGRAMS)), None)


def missing() -> str:
    """Why a rehearsal on PostgreSQL is impossible on this machine; empty when nothing is in its way."""
    if programs() is None:
        return "PostgreSQL is not installed: `apt-get install postgresql`, or leave DATABASE=postgresql out"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "PostgreSQL refuses to run as root, and setpriv (util-linux) is missing: run as another user"
    return ""


class PostgreSQL:
    """One database server in ``folder/postgresql``; ``stretch`` multiplies its time-outs."""

    def __init__(self, folder: Path, stretch: float = 1.0) -> None:
        self.home = folder / NAME
        self.processes = Processes(self.home, stretch=stretch)
        self.owner = _owner()

    def start(self) -> str:
        """Make an empty database and serve it; returns its SQLAlchemy address, with the password.

        Raises PostgreSQLError, Crashed or TimeoutError; leaves nothing running then.
        """
        if why := missing():
            raise PostgreSQLError(why)
        self.stop()
        password = secrets.token_urlsafe(24)
        try:
            self._initialise(password)
            with reserved_ports(1) as (port,):
                self.processes.start(NAME, self._as_owner(_program("postgres"), "-D", self._data, *_options(port)))
                self.processes.wait_until(lambda: _database_made(port, password), "PostgreSQL answering", READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return f"postgresql+psycopg2://{USER}:{password}@{HOST}:{port}/{DATABASE}"

    def stop(self) -> None:
        """End the server, whoever started it, and remove its data; the log stays."""
        for entry in self.processes.registered():
            _shut_down(entry.pid, entry.created)
        self.processes.stop_all()
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _initialise(self, password: str) -> None:
        self._data.mkdir(parents=True, mode=0o700)
        secret = self.home / "password"
        secret.touch(mode=0o600)
        try:
            secret.write_text(password)
            self._hand_over(secret, self._data)
            authentication = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username", USER]
            shape = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D", self._data]
            done = subprocess.run(
                [str(part) for part in self._as_owner(_program("initdb"), *authentication, *shape)],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise PostgreSQLError(f"initdb failed{self._hint()}:\n{(done.stderr or done.stdout).strip()}")

    def _hand_over(self, *paths: Path) -> None:
        if self.owner is not None:
            for path in paths:
                shutil.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def _as_owner(self, *command: object) -> list[object]:
        """The command as the user who owns the data; unchanged where that is who runs this."""
        if self.owner is None:
            return list(command)
        ids = ["--reuid", self.owner.pw_uid, "--regid", self.owner.pw_gid]
        return ["setpriv", *ids, "--clear-groups", "--no-new-privs", *command]

    def _hint(self) -> str:
        if self.owner is None:
            return ""
        return f" as user {self.owner.pw_name}, who must be able to enter {self.home}: set LAB_DIR to such a folder"


def _owner() -> pwd.struct_passwd | None:
    """Whom the server runs as in place of root; None for anybody else."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((known[name] for name in SERVERS if name in known), None)


def _program(name: str) -> Path:
    folder = programs()
    assert folder is not None  # missing() has said so
    return folder / name


def _options(port: int) -> list[str]:
    return [part for name, value in {**OPTIONS, "port": str(port)}.items() for part in ("-c", f"{name}={value}")]


def _database_made(port: int, password: str) -> bool:
    """Create Airflow's database; False while the server does not answer yet."""
    import psycopg2

    try:
        connection = psycopg2.connect(host=HOST, port=port, user=USER, password=password, dbname="postgres")
    except psycopg2.OperationalError:
        return False
    connection.autocommit = True  # CREATE DATABASE can't be part of a transaction
    try:
        connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()
    return True


def _shut_down(pid: int, created: float) -> None:
    """PostgreSQL's fast shutdown: it ends its sessions and frees its shared memory, which a kill would leave."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > 1:
            return
        process.send_signal(signal.SIGINT)
        process.wait(timeout=STOP_SECONDS)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return
