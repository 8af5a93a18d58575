"""Answers of `api/jobs`."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from serve_app.api.schemas.base import Reply
from serve_app.store.records_jobs import JobKind, JobState


class ProgressReply(Reply):
    """How far a job is, in values of its file."""

    done: int = Field(description="Kept, set aside, left out or empty by now")
    total: int | None = Field(description="Of how many; null until the file is read")


class OutcomeReply(Reply):
    """What became of the values of a file so far, each counted once, and how it was read."""

    written: int = Field(description="New")
    unchanged: int = Field(description="Sent before, and the same")
    corrected: int = Field(description="Sent before with another value, in whose place they stand now")
    quarantined: int = Field(description="Set aside with a reason: GET .../readings/quarantine/")
    left_out: int = Field(description="No readings either, beyond the first 1,000 of a column and reason")
    empty: int = Field(description="Channels without a value at a moment")
    notes: list[str] = Field(description="Which column was read as what, and what was left out")


class JobReply(Reply):
    """Work that takes longer than a request."""

    job_id: UUID
    kind: JobKind
    state: JobState
    system_id: int
    bytes: int = Field(description="Of the file, as it came")
    progress: ProgressReply
    report: OutcomeReply | None = Field(description="Null until the file is read")
    reason: str = Field(description="Why it failed; empty where it did not")
    created_by: str
    created_at: datetime
    updated_at: datetime


class JobsReply(Reply):
    """One page of jobs, the newest first."""

    jobs: list[JobReply]
    next: int | None = Field(description="`before` of the next page; null on the last one")
