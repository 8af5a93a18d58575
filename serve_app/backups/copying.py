"""Files of a backup: written for their owner alone, seen on the disk, and known by size and SHA-256."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from pipelines.errors import Conflict, Unavailable
from serve_app.backups.manifest import CHUNK, Held, check_name
from serve_app.store.archive_files import synchronise

UNFINISHED = ".part"
FULL = {errno.ENOSPC, errno.EDQUOT}


class Copy:
    """A folder that a backup is written into; it has its name once all of it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Held] = {}

    def add(self, name: str, content: Iterable[bytes]) -> Held:
        """Write a file.

        Raises:
            InvalidInput: No manifest can name it.
            OSError: There is no room, or no right.
        """
        check_name(name)
        self.files[name] = write(self.folder / name, content)
        return self.files[name]

    def add_tree(self, root: Path, name: str, wanted: Callable[[Path], bool] = lambda _: True) -> None:
        """Copy what lies below a folder; a file that goes meanwhile is left out.

        Raises:
            OSError: There is no room, or no right.
        """
        for path in sorted(root.rglob("*")):
            if path.is_file() and wanted(path):
                self.take(path, f"{name}/{path.relative_to(root).as_posix()}")

    def take(self, path: Path, name: str) -> bool:
        """Copy a file; tell whether it was there.

        Raises:
            OSError: There is no room, or no right.
        """
        try:
            content = path.open("rb")
        except FileNotFoundError:
            return False
        with content:
            self.add(name, iter(lambda: content.read(CHUNK), b""))
        return True

    def drop(self, wanted: Callable[[str], bool]) -> None:
        """Remove files again, by their names."""
        for name in [name for name in self.files if wanted(name)]:
            (self.folder / name).unlink()
            del self.files[name]

    def size(self, begin: str) -> int:
        """Return how many bytes the files have whose names begin so."""
        return sum(held.size for name, held in self.files.items() if name.startswith(begin))


@contextmanager
def finished(target: Path) -> Iterator[Copy]:
    """Yield a copy that has its name once the block has ended well, and that is gone where it has not.

    Raises:
        Conflict: The target is there already, or another user has made what it is written into.
        Unavailable: Another process writes it.
    """
    if target.exists() or target.is_symlink():
        raise Conflict("target", target, "must not be there yet: a backup is never written over")
    fresh = target.with_name(target.name + UNFINISHED)
    fresh.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            raise Conflict("target", fresh, "is another user's, who could read and change it: choose another folder")
        _lock(folder, target)
        clear(fresh)  # of one that died
        os.fchmod(folder, 0o700)
        with _gone_unless_whole(fresh):
            yield Copy(fresh)
            settle(fresh)
            fresh.rename(target)
        synchronise(target.parent)
    finally:
        os.close(folder)


@contextmanager
def _gone_unless_whole(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _lock(folder: int, target: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable("backup", f"another one is being written to {target}") from None


def write(path: Path, content: Iterable[bytes]) -> Held:
    """Write a new file, and see it on the disk.

    Raises:
        OSError: There is no room, or no right.
    """
    for folder in reversed([each for each in path.parents if not each.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    digest, size = sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in content:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Held(sha256=digest.hexdigest(), size=size)


def settle(folder: Path) -> None:
    """See a folder's names on the disk, and those of all folders below it."""
    for each, _, _ in os.walk(folder, topdown=False):
        synchronise(Path(each))


def clear(folder: Path) -> None:
    """Remove what lies in a folder."""
    for each in folder.iterdir() if folder.exists() else ():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            with suppress(FileNotFoundError):
                each.unlink()


@contextmanager
def told(part: str, where: Path) -> Iterator[None]:
    """Say in words what a disk refuses.

    Raises:
        Unavailable: It refused.
    """
    try:
        yield
    except OSError as error:
        reason = "no space is left" if error.errno in FULL else error.strerror
        raise Unavailable(part, f"{reason}: {error.filename or where}; nothing half counts as whole") from None
