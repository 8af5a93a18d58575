"""Rows of what is watched, and of what happened, as the rest of the application sees them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

EventKind = Literal[
    "state.changed", "alarm.raised", "alarm.cleared", "window.late", "window.unread", "readings.missing"
]


class Watch(NamedTuple):
    """How far a system's readings are judged.

    Attributes:
        read_until: Readings up to this moment were taken to be judged; what comes for it now is late.
        judged_until: All windows up to this moment are judged.
        due: When the next window is whole.
        late_from: From when on readings came late that nobody has taken yet; None where none did.
        late_to: Up to when.
        again_from: From when on windows are being judged again; None where none is.
        again_to: Up to when.
        newest: Moment of the newest reading; None where it was sent before that was noted.
        late_told: Whether people were told of what is being judged again.
        family: Of the system.
    """

    read_until: datetime
    judged_until: datetime
    due: datetime
    late_from: datetime | None = None
    late_to: datetime | None = None
    again_from: datetime | None = None
    again_to: datetime | None = None
    newest: datetime | None = None
    late_told: bool = False
    family: str = ""


class Happened(NamedTuple):
    """Something that happened to a system.

    Attributes:
        at: By the machine's own time; None for now.
        text: What it was, for people.
        trace_id: Of the answer that tells of it, where there is one.
    """

    system_id: int
    at: datetime | None
    kind: EventKind
    text: str
    trace_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a system, as it is listed."""

    event_id: int
    system_id: int
    at: datetime
    kind: EventKind
    text: str
    trace_id: UUID | None
    created_at: datetime
