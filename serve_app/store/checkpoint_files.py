"""Checkpoints once more, in files of this machine: what the database's owner removes from it is found by them.

One file a tenant, a line of JSON a checkpoint, in the order in which they were signed; only retention shortens one.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.shared.checkpoints import KeptCheckpoint, said_by
from serve_app.store.archive_files import synchronise

LINE_MAX = 1 << 14  # bytes; source: own choice, several times a checkpoint of a tree that nobody fills
NAME = re.compile(r"platform|tenant-([1-9]\d{0,9})", re.ASCII)


class CheckpointFiles:
    """Files below a folder that is its owner's alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, tenant_id: int | None) -> Path:
        """Return where a tenant's checkpoints are, or the platform's."""
        return self._folder / f"{'platform' if tenant_id is None else f'tenant-{tenant_id}'}.jsonl"

    def tenants(self) -> list[int | None]:
        """Return who has any, the platform first."""
        found = (NAME.fullmatch(path.stem) for path in self._folder.glob("*.jsonl"))
        ids = [int(name[1]) if name[1] else None for name in found if name]
        return sorted(ids, key=lambda tenant_id: tenant_id or 0)

    def newest(self, tenant_id: int | None) -> KeptCheckpoint | None:
        """Return the last one; None where there is none.

        Raises:
            ValueError: The last line is no checkpoint.
        """
        try:
            with self.path(tenant_id).open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - 2 * LINE_MAX, 0))
                content = file.read()
        except FileNotFoundError:
            return None
        whole = content[: content.rfind(b"\n") + 1].splitlines()
        return KeptCheckpoint.from_line(whole[-1]) if whole else None

    def read(self, tenant_id: int | None) -> Iterator[KeptCheckpoint]:
        """Yield all of them in their order.

        Raises:
            ValueError: A line is no checkpoint.
        """
        try:
            with self.path(tenant_id).open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):  # the last one, where it is not, was being written when a process died
                        yield KeptCheckpoint.from_line(line)
        except FileNotFoundError:
            return

    def append(self, tenant_id: int | None, kept: KeptCheckpoint) -> None:
        """Add one, and see it on the disk.

        Raises:
            OSError: It cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self.path(tenant_id), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(file).st_size
            tail = os.pread(file, LINE_MAX, max(size - LINE_MAX, 0))
            if torn := len(tail) - 1 - tail.rfind(b"\n"):
                os.ftruncate(file, size - torn)
            os.write(file, kept.to_line() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        if size == 0:
            synchronise(self._folder)  # or a machine that goes down leaves the content without the name

    def shorten(self, tenant_id: int | None, size: int) -> None:
        """Leave those alone that are of a tree of so many leaves or more.

        Raises:
            OSError: It cannot be written.
        """
        path = self.path(tenant_id)
        fresh = path.with_suffix(".part")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for kept in self.read(tenant_id):
                if said_by(kept.note)[0].size >= size:
                    file.write(kept.to_line() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        synchronise(self._folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all others on this machine from writing, for as long as the block lasts.

        Raises:
            BlockingIOError: Another one writes.
            OSError: The folder cannot be written to.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
