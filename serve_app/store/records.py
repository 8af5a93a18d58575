"""Rows as the rest of the application sees them: frozen, and free of any database object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from pipelines.machines.commissioning import State

DocumentState = Literal["queued", "indexing", "ready", "failed", "removing"]
Role = Literal["admin", "engineer", "operator", "viewer"]
Verdict = Literal["confirmed", "false_alarm", "missed"]
# What a key may be held to, beside its role; `api/scopes` says which calls each one opens.
Scope = Literal["assistant", "detect", "documents", "feedback", "manage", "models", "read", "readings"]
Limits = Mapping[str, Mapping[str, float]]
EPOCH = datetime.fromtimestamp(0, UTC)
COMMAND_LINE = "command line"  # who did it, in the audit, where a command was run on the machine itself


def written(at: datetime) -> str:
    """Return a moment as answers write it: ISO 8601, of UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling; the only source of the tenant.

    Attributes:
        user_id: None for an API key.
        generation: Of the account's credentials when this one was issued; once they are withdrawn, it no longer holds.
        scopes: What alone a key may do of what its role may; None where that is all of it, as for every account.
    """

    tenant_id: int
    user_id: int | None
    name: str
    role: Role
    generation: int = 0
    scopes: tuple[Scope, ...] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the hash to check a password against.

    Attributes:
        generation: How often its credentials were withdrawn.
    """

    user_id: int
    tenant_id: int
    username: str
    email: str
    password_hash: str
    role: Role
    active: bool
    generation: int = 0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is listed; the key itself is kept nowhere.

    Attributes:
        revoked_at: None while it opens doors.
        prefix: What it begins with, to tell it by; empty for a key that is older than this column.
        scopes: What alone it may do of what its role may; None where that is all of it.
        expires_at: None where it holds until it is revoked.
        last_used_at: To a minute or two; None while nobody has sent it.
    """

    key_id: int
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    prefix: str = ""
    scopes: tuple[Scope, ...] | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """An open family of refresh tokens.

    Attributes:
        session_id: Of the family.
        used_at: When it was refreshed last; None while it never was.
    """

    session_id: UUID
    begun_at: datetime
    used_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the audit."""

    audit_id: int
    actor: str
    action: str
    subject: str
    detail: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class System:
    """A machine under diagnosis.

    Attributes:
        alarm: Whether its last window was an alarm.
        state: What is done with its windows: they are learned, judged and learned from, or judged alone.
        learned: Windows stored since its commissioning began; once it is commissioned, those that it was learned from.
        commissioned_since: When the present commissioning began.
        limits: By channel `low` and `high`, where people say that it must keep above or below.
        evidence: That it is not well, over its windows, as `Evidence.to_numbers` writes it; empty while there is none.
        judged_until: When the last window of its stored readings ended that was judged; None while there was none.
    """

    system_id: int
    name: str
    family: str
    description: str
    alarm: bool
    created_at: datetime
    state: State = "commissioning"
    learned: int = 0
    commissioned_since: datetime = EPOCH
    limits: Limits = field(default_factory=dict)
    evidence: tuple[float, ...] = ()
    judged_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredFamily:
    """One version of a machine kind that a tenant defined.

    Attributes:
        version: From 1; the newest one counts.
        definition: As `Family.definition`.
    """

    name: str
    version: int
    definition: str
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDiagnosis:
    """A diagnosis as it was answered, with all that it followed from.

    Attributes:
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        answer: The body that the caller got, a JSON object.
        alarm: Whether the system was in alarm before it; None for an answer older than this column.
        baseline: The system's normal before it, as `Normal.to_bytes` writes it; None while it had none.
        limits: Those that people had stated for the system; None where there were none.
        window_end: When the window ended, where it was cut from readings.
        late: Whether it is judged, or once more, since readings came late: then it neither teaches nor is evidence.
        counted: Whether it is to count for its system at all; read again, whether it does.
    """

    trace_id: UUID
    system_id: int
    family: str
    created_at: datetime
    window: Mapping[str, Any]
    answer: bytes
    alarm: bool | None = None
    baseline: bytes | None = None
    limits: Limits | None = None
    window_end: datetime | None = None
    late: bool = False
    counted: bool = True

    def read_answer(self) -> dict[str, Any]:
        """Return the answer as an object."""
        answer: dict[str, Any] = orjson.loads(self.answer)
        return answer


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """What a person said last of an answer.

    Attributes:
        verdict: `confirmed` that the answer is right, alarm or not; `false_alarm` and `missed` that it is not.
        component: What was off nominal; None where that is not known, or nothing was.
        actor: Who said it.
    """

    trace_id: UUID
    verdict: Verdict
    component: str | None
    note: str
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Labelled:
    """A stored window with what people know of it.

    Attributes:
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        baseline: The system's normal that it met, as `Normal.to_bytes` writes it; None where there was none.
        truth: Whether it is anomalous.
        component: What was off nominal, where somebody said so.
        created_at: When it was said.
        answered_at: When the window was judged.
    """

    trace_id: UUID
    tenant_id: int
    system_id: int
    family: str
    window: Mapping[str, Any]
    baseline: bytes | None
    truth: bool
    component: str | None
    created_at: datetime
    answered_at: datetime


class Kept(NamedTuple):
    """What was stored.

    Attributes:
        system: As it is after the window.
        answer: The body of the answer.
        counted: Whether the window counts for it.
    """

    system: System
    answer: bytes
    counted: bool = True


class Finding(NamedTuple):
    """An answer that found something, in short; `verdict` is what people said last of it, None while nobody did."""

    trace_id: UUID
    created_at: datetime
    severity: str
    kind: str | None
    components: tuple[str, ...]
    verdict: Verdict | None
    note: str


class Seen(NamedTuple):
    """An answered window, as drift looks at it.

    Attributes:
        score: None where nobody could judge it.
    """

    tenant_id: int
    system_id: int
    family: str
    window: Mapping[str, Any]
    baseline: bytes | None
    score: float | None
    created_at: datetime


class Verified(NamedTuple):
    """What was answered of a window, and what people found."""

    tenant_id: int
    system_id: int
    family: str
    score: float | None
    truth: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that was uploaded, without its bytes.

    Attributes:
        state: `failed` has its `reason`; that of `ready` says which pages hold no text or were read by machine.
        passages: How many it was cut into; 0 until it is ready.
        flagged: How many of them try to give orders, and are never quoted.
        attempts: How often it failed for a reason of its own.
        done: Passages that are encoded so far.
        total: Of how many; 0 until it is read.
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
    done: int = 0
    total: int = 0


class Waiting(NamedTuple):
    """A document that is to be indexed, or, where it is going, removed."""

    tenant_id: int
    document_id: str
    going: bool


class Reading(NamedTuple):
    """What a channel had at a moment, in the unit that the system speaks."""

    channel: str
    at: datetime
    value: float


class Suspect(NamedTuple):
    """What was sent and is no good reading.

    Attributes:
        channel: As it was sent; none of the family's, maybe.
        value: As text.
        reason: Why it was set aside.
    """

    channel: str
    at: datetime
    value: str
    reason: str


class Stored(NamedTuple):
    """What became of values that were sent: each is counted once.

    Attributes:
        unchanged: Sent before, and the same.
        corrected: Sent before with another value, in whose place they stand now.
        quarantined: Set aside with a reason, now or before.
    """

    written: int
    unchanged: int
    corrected: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Series:
    """One channel over a span of time.

    Attributes:
        count: Its readings in the span.
        points: All of them, or of each equal part of the span the first, the least, the greatest and the last one.
    """

    channel: str
    count: int
    points: tuple[tuple[datetime, float], ...]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A value that was set aside, as it is listed."""

    quarantine_id: int
    channel: str
    at: datetime
    value: str
    reason: str
    created_at: datetime
