"""Processes that `hdx` starts on this machine: each is watched, stopped by its pid, and never under another's feet."""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from pipelines.errors import Unavailable
from serve_app.local.permissions import OTHERS, private_home

ENDING_S = 0.1  # between two looks whether a command that ends has ended; source: own choice, unseen in a start
LIBC = ctypes.CDLL(None)  # looked up here: between fork and exec nothing may be imported
STOP_S = 20.0  # a MLflow worker finishes its requests within its own 15 s


@dataclass(frozen=True, slots=True)
class Child:
    """A process in a session of its own, so that a Ctrl-C in the terminal reaches only us."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def running(self) -> bool:
        """True while it lives."""
        return self.process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask it to end, and after a while end its whole group."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _end_with_parent() -> None:
    """Ask the kernel to end this process when its parent is gone, killed too: what is left would keep ports and files.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    LIBC.prctl(1, signal.SIGTERM)


def start(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
    """Start a process whose output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (our own commands, no shell)
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=OTHERS,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (one call of libc)
        )
    return Child(name, process, log)


def check_running(children: Sequence[Child]) -> None:
    """Check that all live.

    Raises:
        Unavailable: One ended; names its log.
    """
    for child in children:
        if not child.running:
            raise Unavailable(child.name, f"ended with code {child.process.returncode}; see {child.log}")


def wait_until(ready: Callable[[], bool], children: Sequence[Child], timeout_s: float) -> None:
    """Wait until `ready`, which the last child was started for.

    Raises:
        Unavailable: A child ended, or the time is over.
    """
    end = time.monotonic() + timeout_s
    while not ready():
        check_running(children)
        if time.monotonic() > end:
            raise Unavailable(children[-1].name, f"not ready after {timeout_s:g} s; see the logs under HDX_HOME")
        time.sleep(0.2)


def port_taken(host: str, port: int) -> bool:
    """Tell whether something listens there already."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextlib.contextmanager
def in_use(home: Path, *, alone: bool = False) -> Iterator[Callable[[], None]]:
    """Say that this process uses what runs over `home`; yield what waits until no other process does.

    Who has started a part waits so before stopping it. The kernel takes the word back when a process dies. A process
    uses it once: a second use inside the first would wait for the first.

    Args:
        home: Whose parts are used.
        alone: Wait for all others now, and keep them waiting.
    """
    private_home(home)
    with (home / "in-use.lock").open("ab") as used, (home / "ending.lock").open("ab") as ending:

        def wait_for_others() -> None:
            # To wait is to give up the shared lock for a moment: whoever wants to be alone sees by this one to wait on.
            fcntl.flock(ending, fcntl.LOCK_SH)
            fcntl.flock(used, fcntl.LOCK_EX)

        fcntl.flock(used, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        while alone and not _taken(ending):
            fcntl.flock(used, fcntl.LOCK_UN)
            time.sleep(ENDING_S)
            fcntl.flock(used, fcntl.LOCK_EX)
        yield wait_for_others


def _taken(lock: BinaryIO) -> bool:
    """Take a lock that nobody holds; tell whether it was taken."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
