"""Writes one JSON object a line to `HDX_HOME/logs/hdx.jsonl` for every process, and turns a full file over.

One `trace_id` finds all that was said about a request; no line holds a body or a secret.
"""

import contextlib
import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict

from configs.settings import Settings

FILE = "hdx.jsonl"
MESSAGE_MAX = 300

# What is known of the request in hand; its own line at the end holds all of it, others only the trace id.
REQUEST: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)


class LogFile:
    """Appends whole lines: each is one `write` to a file opened with O_APPEND, so processes never mix them.

    A full file is renamed to `hdx.jsonl.1`, that one to `.2`, and the oldest goes. Only a full file is ever renamed:
    by the size of the one that it holds open each process sees that it must look again.
    """

    def __init__(self, path: Path, file_bytes: int, files: int) -> None:
        self.path, self._file_bytes, self._files = path, file_bytes, files
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def msg(self, line: bytes) -> None:
        """Write one line; a full disk must not fail the request."""
        try:
            held = os.fstat(self._file)
            if held.st_size >= self._file_bytes or not held.st_nlink:
                self._turn_over(held)
            os.write(self._file, line + b"\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                print(f"a log line is lost: {type(error).__name__}", file=sys.stderr)

    debug = info = warning = error = critical = msg

    def _turn_over(self, held: os.stat_result) -> None:
        """Go on in a new file; while another process renames, the old one takes a few lines more."""
        with self.path.with_name(f"{FILE}.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self.path.exists() and os.path.samestat(self.path.stat(), held):
                kept = [self.path, *(self.path.with_name(f"{FILE}.{age}") for age in range(1, self._files))]
                for newer, older in reversed(list(pairwise(kept))):
                    if newer.exists():
                        newer.replace(older)
                if self._files == 1:
                    self.path.unlink()
            fresh = self._open()
            os.dup2(fresh, self._file)  # the number stays: another thread may be about to write to it
            os.close(fresh)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def configure(settings: Settings) -> None:
    """Send this process's HDX log lines to the file; a second call changes the file."""
    logs = settings.logs
    file = LogFile(settings.home / "logs" / FILE, logs.file_bytes, logs.files)
    _send_to(file, settings.log_level)


def _send_to(file: object, level: str) -> None:
    structlog.configure(
        processors=[_line, structlog.processors.JSONRenderer(_encoded, default=str)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda: file,
    )


def begin(trace_id: str) -> dict[str, Any]:
    """Open the notes of one request."""
    notes: dict[str, Any] = {"trace_id": trace_id}
    REQUEST.set(notes)
    return notes


def trace_id() -> str:
    """Return the trace id of the request in hand, or an empty string outside of one."""
    notes = REQUEST.get()
    return str(notes["trace_id"]) if notes else ""


def note(**fields: object) -> None:
    """Add fields to the line that ends the request in hand."""
    notes = REQUEST.get()
    if notes is not None:
        notes.update(fields)


def write(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """Write one line now; before `configure` what is amiss goes to standard error."""
    if not structlog.is_configured():
        _send_to(structlog.BytesLogger(sys.stderr.buffer), "WARNING")
    structlog.get_logger().log(level, event, error=error, **fields)


@contextlib.contextmanager
def surviving(event: str, **fields: object) -> Iterator[None]:
    """Write one line about whatever is raised inside, and go on behind it."""
    try:
        yield
    except Exception as error:
        write(event, logging.WARNING, error, **fields)


def _line(_: object, level: str, given: EventDict) -> EventDict:
    """Return the fields of a line in their order."""
    event, error = given.pop("event"), given.pop("error")
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level.upper(),
        "event": event,
        "trace_id": trace_id(),
        "pid": os.getpid(),
        **given,
    }
    if error is not None:
        line["error"] = _error(error)
    return line


def _encoded(line: EventDict, **options: Any) -> bytes:
    try:
        return orjson.dumps(line, **options)
    except TypeError:  # half a surrogate pair, or an integer beyond 64 bits: a caller may send both
        return json.dumps(line, ensure_ascii=False, **options).encode("utf-8", "replace")


def _error(error: BaseException) -> dict[str, Any]:
    """Return what is safe to keep of an exception.

    Only the first line of its text: database drivers put statements and their parameters on the following ones.
    """
    try:
        lines = str(error).splitlines()
    except Exception:  # an error of somebody's library that cannot say what it is
        lines = []
    frames = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        frames.append(f"{code.co_filename}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return {"kind": type(error).__name__, "message": lines[0][:MESSAGE_MAX] if lines else "", "frames": frames}
