"""Rows of jobs as the rest of the application sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from serve_app.store.records import EPOCH

JobKind = Literal["readings"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
# Which queue it stands in: `file` where a file is to be read that takes long.
JobTask = Literal["job", "file"]
Stage = Literal["file", "rows"]
OPEN: tuple[JobState, ...] = ("queued", "running")


class Ordered(NamedTuple):
    """A job that is asked for.

    Attributes:
        given: What is known of the file.
        bytes: Of the file.
    """

    job_id: UUID
    kind: JobKind
    system_id: int
    given: Mapping[str, Any]
    bytes: int
    task: JobTask = "job"


@dataclass(frozen=True, slots=True)
class Job:
    """Work that takes longer than a request.

    Attributes:
        number: In which order it was asked for.
        given: What is known of the file.
        bytes: Of the file.
        done: Values that are kept, set aside or left out by now.
        total: Of how many; None until the file is read.
        piece: Which piece of what was read is next.
        pieces: Of how many.
        attempts: How often it was begun since it came further last.
        reason: Why it failed.
        report: What became of its values, and how its file was read.
    """

    job_id: UUID
    number: int
    kind: JobKind
    state: JobState
    system_id: int
    given: Mapping[str, Any]
    bytes: int
    task: JobTask
    created_by: str
    created_at: datetime
    updated_at: datetime
    done: int = 0
    total: int | None = None
    piece: int = 0
    pieces: int = 0
    attempts: int = 0
    reason: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)


def ordered(order: Ordered, number: int, actor: str, at: datetime = EPOCH) -> Job:
    """Return a job that was just asked for."""
    return Job(order.job_id, number, order.kind, "queued", *order[2:], created_by=actor, created_at=at, updated_at=at)
