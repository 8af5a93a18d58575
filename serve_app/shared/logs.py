"""Beside every request: one JSON object a line, appended to `HDX_HOME/logs/hdx.jsonl` by every process.

Exists so that one `trace_id` finds all that was said about a request, and no line holds a body or a secret.
"""

import json
import logging
import os
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.settings import Settings

LOGGER = "hdx"
MESSAGE_MAX = 300

# What is known of the request in hand; its own line at the end holds all of it, others only the trace id.
REQUEST: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)


class JsonLines(logging.Handler):
    """Appends whole lines: each is one `write` to a file opened with O_APPEND, so processes never mix them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a full disk must not fail the request."""
        try:
            line = json.dumps(_fields(record), ensure_ascii=False, default=str) + "\n"
            if self._file < 0:  # a library that configures logging closes every handler there is
                self._file = self._open()
            os.write(self._file, line.encode("utf-8", "replace"))
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()


def configure(settings: Settings) -> None:
    """Send this process's HDX log lines to the file; a second call changes the file."""
    logger = logging.getLogger(LOGGER)
    for handler in [handler for handler in logger.handlers if isinstance(handler, JsonLines)]:
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(JsonLines(settings.home / "logs" / "hdx.jsonl"))
    logger.setLevel(settings.log_level)
    logger.propagate = False


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
    """Write one line now."""
    logger = logging.getLogger(LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": fields, "error": error})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given: Mapping[str, Any] = getattr(record, "fields", {})
    error: BaseException | None = getattr(record, "error", None)
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "event": record.getMessage(),
        "trace_id": trace_id(),
        "pid": record.process,
        **given,
    }
    if error is not None:
        line["error"] = _error(error)
    return line


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
