"""What evidence is made of: notes as they are hashed, and what the audit is asked for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from serve_app.shared.checkpoints import KeptCheckpoint

# Columns of a note that its hash is of: all that there are. One more is a new manner of hashing, for new notes alone.
HASHED = ("tenant_id", "audit_id", "actor", "action", "subject", "detail", "created_at")


def hashed(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a note as it is hashed and exported."""
    at = row["created_at"].astimezone(UTC).isoformat(timespec="microseconds")
    return {name: row[name] for name in HASHED} | {"created_at": at}


def content_of(note: Mapping[str, Any]) -> bytes:
    """Return the bytes of a leaf: JSON of the note, its keys in order, without a space."""
    return orjson.dumps(note, option=orjson.OPT_SORT_KEYS)


class Wanted(NamedTuple):
    """Which notes are asked for; what is None is not asked about.

    Attributes:
        begin: Written then or later.
        end: Written before.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    begin: datetime | None = None
    end: datetime | None = None


ALL = Wanted()


class Leaf(NamedTuple):
    """A leaf of a tenant's tree.

    Attributes:
        leaf_index: From 0.
        hash: As it is kept beside the note.
        audit_id: Of its note.
        note: As `hashed` has it; None where it is gone.
    """

    leaf_index: int
    hash: bytes
    audit_id: int
    note: Mapping[str, Any] | None


class Base(NamedTuple):
    """Where what is kept of a tree begins.

    Attributes:
        tenant_id: Whose; None for the platform's.
        kept: The checkpoint up to which retention has dropped; None where nothing is dropped, or it is missing.
    """

    tenant_id: int | None
    kept: KeptCheckpoint | None


class Unsealed(NamedTuple):
    """Notes that are in no tree.

    Attributes:
        notes: How many.
        audit_id: Of the one that was written first, None where there is none.
        oldest: When that was.
    """

    notes: int
    audit_id: int | None
    oldest: datetime | None
