"""Answers of `api/audit`."""

from datetime import datetime

from pydantic import Field

from serve_app.api.schemas.base import Reply


class NoteReply(Reply):
    """A note of the audit."""

    audit_id: int
    at: datetime
    actor: str = Field(description="A user's name, an API key's, or who ran a command")
    action: str = Field(description="Such as `login.failed` or `system.deleted`")
    subject: str = Field(description="Such as `system 7`")
    detail: str


class NotesReply(Reply):
    """One page of the audit, the newest note first."""

    notes: list[NoteReply]
    next: int | None = Field(description="`before` of the next page; null on the last one")


class CheckpointReply(Reply):
    """What is signed of the audit."""

    size: int = Field(description="Notes, those that retention has dropped included")
    root: str = Field(description="Of their Merkle tree by RFC 9162, in hexadecimal digits")
    dropped: int = Field(description="Of the notes, how many from the first on retention has dropped")
    signed_at: datetime
    note: str = Field(description="The signed checkpoint, as C2SP's tlog-checkpoint has it")
    public_key: str = Field(description="What it is checked with; compare it with `hdx audit key`")
