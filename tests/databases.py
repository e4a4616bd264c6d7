"""A PostgreSQL server for the tests, from Debian's package: started once, thrown away at the end.

Where it is not installed but could be, tests fail rather than be skipped: `make postgres` installs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installing import leave_out

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def programs() -> Path:
    """The folder of initdb and pg_ctl; skips where there is none and none can be installed."""
    found = [*SERVERS[-1:], *(Path(path).parent for path in [shutil.which("initdb")] if path)]
    if found:
        return found[0]
    leave_out("PostgreSQL", "make postgres")


def as_its_user(*command: str) -> None:
    """Run a program of PostgreSQL, which refuses to be root."""
    switch = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*switch, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running server that listens on a Unix socket only; yields the socket's folder."""
    bin, folder = programs(), Path(f"/tmp/caig-{uuid.uuid4().hex[:8]}")  # short: a socket's path has few characters
    as_its_user("mkdir", "-m", "700", str(folder))
    try:
        as_its_user(str(bin / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-N")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        as_its_user(str(bin / "pg_ctl"), "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        if os.geteuid() == 0:
            os.chmod(folder, 0o755)
        yield folder
    finally:
        as_its_user(str(bin / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new, empty database of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/caig.db"
        return
    import psycopg

    folder = request.getfixturevalue("postgres_server")
    with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    yield f"postgresql://postgres@/postgres?host={folder}"
