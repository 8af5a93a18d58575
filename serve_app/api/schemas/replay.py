"""Answers of `api/replay`: a stored diagnosis, and the same one given again."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from serve_app.api.schemas.base import Reply
from serve_app.api.schemas.detection import DetectReply


class PassageReply(Reply):
    """A passage that the advice was written from."""

    document_id: str
    page: int
    start: int
    end: int
    sha256: str = Field(description="Of its text")


class EvidenceReply(Reply):
    """What an answer followed from beside its window."""

    versions: dict[str, str] = Field(description="By detector, the version that judged")
    weights: dict[str, float]
    threshold: float
    alarm: bool | None = Field(description="Whether the system was in alarm before; null for answers of older releases")
    baseline: str | None = Field(
        description="Base64 of float64, 4 rows of one number a feature: count, total, squares, first normal"
    )
    passages: list[PassageReply] = Field(description="Of the manuals, where a repair was asked for")


class StoredReply(Reply):
    """A diagnosis as it was answered, with the window it answered."""

    trace_id: UUID
    system_id: int
    family: str
    units: dict[str, str] = Field(description="By channel, where they are not the family's")
    created_at: datetime
    window: dict[str, Any]
    answer: DetectReply
    evidence: EvidenceReply


class ReplayReply(Reply):
    """A stored answer, given again by the versions of its day."""

    trace_id: UUID
    identical: bool
    differences: list[str] = Field(description="JSON paths of what is not the same")
    findings: dict[str, Any]
