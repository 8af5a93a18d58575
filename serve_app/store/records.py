"""Between routes and tables: rows as the rest of the application sees them.

Exists so that no route holds a live database object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

DocumentState = Literal["queued", "indexing", "ready", "failed", "removing"]
Role = Literal["admin", "engineer", "operator", "viewer"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling; the only source of the tenant.

    Attributes:
        user_id: None for an API key.
    """

    tenant_id: int
    user_id: int | None
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the hash to check a password against."""

    user_id: int
    tenant_id: int
    username: str
    email: str
    password_hash: str
    role: Role
    active: bool


@dataclass(frozen=True, slots=True)
class System:
    """A machine under diagnosis.

    Attributes:
        alarm: Whether its last window was an alarm.
    """

    system_id: int
    name: str
    family: str
    description: str
    alarm: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDiagnosis:
    """A diagnosis as it was answered, with the window it answered.

    Attributes:
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        answer: The body that the caller got.
    """

    trace_id: UUID
    system_id: int
    family: str
    created_at: datetime
    window: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that was uploaded, without its bytes.

    Attributes:
        state: `failed` has its `reason`.
        passages: How many it was cut into; 0 until it is ready.
        flagged: How many of them try to give orders, and are never quoted.
        attempts: How often its indexing was begun.
    """

    document_id: str
    name: str
    sha256: str
    bytes: int
    state: DocumentState
    reason: str
    title: str
    language: str | None
    passages: int
    flagged: int
    attempts: int
    created_at: datetime
