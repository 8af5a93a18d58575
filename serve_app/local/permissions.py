"""Who may enter what HDX keeps on this machine: its owner alone.

What a command makes there is made so; what is there is looked at before it is used.
"""

import os
import stat
from pathlib import Path
from shlex import quote

from pipelines.errors import Unavailable

# What others may not do; as root the database runs as a user of its own, who passes through the folder above it.
OTHERS, PASSING = 0o077, 0o011
# Folders of a home, but for that of the database, which keeps others out by itself.
FOLDERS = ("archive", "audit", "knowledge", "logs", "mlflow", "ray")


def private_home(home: Path) -> None:
    """Make a home and its folders unless they are there.

    Raises:
        Unavailable: Another user owns one, or others may enter it; names the command that mends it.
    """
    private_folder(home, PASSING if os.geteuid() == 0 else 0)
    for name in FOLDERS:
        private_folder(home / name)


def private_folder(folder: Path, allowed: int = 0) -> None:
    """Make a folder unless it is there.

    Args:
        folder: Which.
        allowed: Of `OTHERS`, what they may do all the same.

    Raises:
        Unavailable: Another user owns it, or others may enter it; names the command that mends it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise Unavailable(str(folder), "belongs to another user: move it away, or set HDX_HOME")
    if stat.S_IMODE(found.st_mode) & OTHERS & ~allowed:
        raise Unavailable(str(folder), f"is open to other users of this machine: chmod -R go= {quote(str(folder))}")
