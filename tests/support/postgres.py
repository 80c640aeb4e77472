"""A throwaway PostgreSQL server: its own folder, port, user and password; gone at the end of the session."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

USER = "shopkeeper"
START_SECONDS = 60
SERVANTS = ("postgres", "nobody")


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    password: str

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """URL of one of its databases, as a user writes it."""
        return f"postgresql+psycopg://{USER}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each in a transaction of its own kind: none, so that databases can be made."""
        engine = sa.create_engine(self.url(database), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def rows(self, query: str, database: str = "postgres") -> list[tuple]:
        """What a query finds."""
        engine = sa.create_engine(self.url(database), poolclass=sa.NullPool)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.exec_driver_sql(query)]
        engine.dispose()
        return found


def binaries() -> Path | None:
    """Folder of the newest installed server, if any."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _servant() -> list[str]:
    """What a command begins with so that it does not run as root, whom the server refuses."""
    if os.geteuid() != 0:
        return []
    name = _servant_name()
    if shutil.which("setpriv"):
        return ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--clear-groups"]
    return ["runuser", "-u", name, "--"]


def _servant_name() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in SERVANTS if name in known)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, found: Path) -> Iterator[Postgres]:
    """Start a server in an empty folder, and stop it."""
    servant = _servant()
    running = Postgres(_free_port(), secrets.token_hex(12))
    (folder / "password").write_text(running.password)
    if servant:
        for path in (folder, folder / "password"):
            shutil.chown(path, _servant_name())
    home = folder / "data"
    made = subprocess.run(
        [*servant, found / "initdb", "-D", home, "-U", USER, "-E", "UTF8", "--no-sync", "--auth=scram-sha-256"]
        + [f"--pwfile={folder / 'password'}", "--locale=C.UTF-8"],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert made.returncode == 0, made.stderr
    settings = {"listen_addresses": "127.0.0.1", "port": running.port, "unix_socket_directories": "", "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*servant, found / "postgres", "-D", home, *options], stdout=log, stderr=log, cwd="/"
        )
        try:
            _wait(running, process, folder / "log")
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # ends its sessions, writes what is left, and exits
            process.wait(START_SECONDS)


def _wait(running: Postgres, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            running.execute("select 1")
            return
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"PostgreSQL does not start:\n{log.read_text()}") from None
            time.sleep(0.1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session's own."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server is installed (Debian package postgresql): no initdb in PATH or /usr/lib")
    folder = Path(tempfile.mkdtemp(prefix="portrait-postgres-"))
    try:
        with server(folder, found) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """Name of an empty database for one test."""
    name = f"shop_{secrets.token_hex(4)}"
    postgres.execute(f"create database {name}")
    yield name
    postgres.execute(f"drop database {name} with (force)")
