"""The rehearsal's PostgreSQL: found, refused with a remedy, served on loopback by password only, gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from lab.rehearsal import __main__ as rehearsal
from lab.rehearsal import postgresql
from lab.rehearsal.postgresql import PostgreSQL, PostgreSQLError, missing, programs

NOT_INSTALLED = "PostgreSQL is not installed: `apt-get install postgresql`, or leave DATABASE=postgresql out"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user can enter; those of pytest are the caller's alone."""
    made = Path(tempfile.mkdtemp(prefix="akidb-postgresql-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def installed(root: Path, *names: str) -> Path:
    root.mkdir(parents=True)
    for name in names:
        (root / name).touch()
    return root


def test_the_newest_of_debians_versions_is_taken(tmp_path: Path) -> None:
    nine = installed(tmp_path / "9" / "bin", "initdb", "postgres")
    fifteen = installed(tmp_path / "15" / "bin", "initdb", "postgres")
    client_only = installed(tmp_path / "17" / "bin", "psql")
    assert programs([nine, client_only, fifteen]) == fifteen
    assert programs([client_only]) is None


def test_a_machine_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgresql, "programs", lambda: None)
    assert missing() == NOT_INSTALLED
    with pytest.raises(PostgreSQLError, match="apt-get install postgresql"):
        PostgreSQL(tmp_path).start()


@pytest.mark.parametrize(("nothing_skipped", "status"), [("", 0), ("1", 1)])
def test_a_rehearsal_without_it_is_skipped_unless_nothing_may_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nothing_skipped: str, status: int
) -> None:
    monkeypatch.setattr(postgresql, "programs", lambda: None)
    monkeypatch.setenv("DATABASE", "postgresql")
    monkeypatch.setenv("AKIDB_SKIP_NOTHING", nothing_skipped)
    monkeypatch.setattr(rehearsal.signal, "signal", lambda *_: None)
    assert rehearsal.main() == status
    assert capsys.readouterr().err == f"rehearsal: skipped: {NOT_INSTALLED}\n"


@pytest.mark.skipif(bool(missing()), reason=missing() or "installed")
def test_it_asks_for_its_password_listens_on_loopback_alone_and_leaves_only_its_log(folder: Path) -> None:
    server = PostgreSQL(folder)
    try:
        address = server.start()
        credentials, _, place = address.removeprefix("postgresql+psycopg2://").rpartition("@")
        port = int(place.removeprefix("127.0.0.1:").removesuffix("/airflow"))
        entry = server.processes.started("postgresql")
        process = psutil.Process(entry.pid)
        assert {one.laddr for one in process.net_connections() if one.status == "LISTEN"} == {("127.0.0.1", port)}
        assert process.uids().effective != 0 or os.geteuid() != 0
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(host="127.0.0.1", port=port, user="airflow", password="guessed", dbname="airflow")
        password = credentials.partition(":")[2]
        known = psycopg2.connect(host="127.0.0.1", port=port, user="airflow", password=password, dbname="airflow")
        cursor = known.cursor()
        cursor.execute("SHOW password_encryption")
        assert cursor.fetchone() == ("scram-sha-256",)
        known.close()
    finally:
        server.stop()
    assert not psutil.pid_exists(entry.pid)
    assert [path.name for path in sorted(folder.rglob("*")) if path.is_file()] == ["postgresql.log"]
