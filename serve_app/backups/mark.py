"""The mark of a home that is being restored: as long as it is there nothing else may work on what is there by then."""

from pathlib import Path

from pipelines.errors import Unavailable
from serve_app.store.archive_files import synchronise

NAME = "restoring"


def mark_of(home: Path) -> str | None:
    """Return which backup is being restored into a home; None where none is."""
    try:
        return (home / NAME).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def check_whole(home: Path) -> None:
    """Refuse to work on a home that holds a part of a backup.

    Raises:
        Unavailable: A restore into it has not come to its end.
    """
    if mark_of(home) is not None:
        raise Unavailable("home", f"a restore into {home} has not come to its end: repeat `hdx restore`")


def set_mark(home: Path, backup: str) -> None:
    """Say that a backup is being restored, before anything of it is there."""
    fresh = home / f"{NAME}.part"
    fresh.write_text(f"{backup}\n", encoding="utf-8")
    synchronise(fresh)
    fresh.replace(home / NAME)
    synchronise(home)


def remove_mark(home: Path) -> None:
    """Say that all of it is there."""
    (home / NAME).unlink()
    synchronise(home)
