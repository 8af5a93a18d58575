"""Answers of `api/documents`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from serve_app.api.schemas.base import Reply


class DocumentReply(Reply):
    """A document that was uploaded, and what has become of it."""

    document_id: str
    name: str
    sha256: str
    bytes: int
    state: Literal["queued", "indexing", "ready", "failed", "removing"]
    reason: str = Field(description="Why it failed, or which pages of it hold no text or were read by machine")
    title: str
    language: str | None
    passages: int = Field(description="How many it was cut into; 0 until it is ready")
    flagged: int = Field(
        description="How many of them try to give orders to who answers, and are never quoted; listed under `flagged/`"
    )
    attempts: int = Field(description="How often it failed for a reason of its own; the third time is the last")
    created_at: datetime
    done: int = Field(description="Passages that are encoded so far, while it is being indexed")
    total: int = Field(description="Of how many; 0 until it is read")


class DocumentsReply(Reply):
    """One page of documents; `next` is the `after` of the following one."""

    documents: list[DocumentReply]
    next: str | None


class PageReply(Reply):
    """A page's text, in which a citation's `start` and `end` count."""

    document_id: str
    page: int
    text: str


class FlaggedPassage(Reply):
    """A passage that is never quoted: the page's text from `start` to `end`."""

    page: int
    start: int
    end: int
    text: str
    reason: str = Field(description="What it attempts, such as `overrides instructions`")


class FlaggedReply(Reply):
    """The passages of a document that give orders to whoever answers, in reading order."""

    document_id: str
    flagged: list[FlaggedPassage]
