"""Bodies and answers of `api/systems`."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example
from serve_app.api.schemas.life import AlarmReply, LimitBody, LimitReply, StateName
from serve_app.store.records_watching import EventKind


class SystemBody(Body):
    """A new system."""

    model_config = example(name="Press 4", family="generic", description="Main power unit, hall 2")

    name: Text = Field(min_length=1, max_length=200)
    family: Text = Field(max_length=100)
    units: dict[Text, Text] = Field(
        default={},
        max_length=100,
        description="By channel of a shipped family, the unit that its readings come in and answers are given in",
    )
    description: Text = Field(default="", max_length=2000)


class SystemChangeBody(Body):
    """What changes; the family cannot, as the baseline belongs to it."""

    model_config = example(description="Moved to hall 3")

    name: Text | None = Field(default=None, min_length=1, max_length=200)
    description: Text | None = Field(default=None, max_length=2000)
    state: StateName | None = Field(
        default=None,
        description="Before work on the machine `maintenance`; then `monitoring` where it is as it was, or"
        " `commissioning`, which forgets what was normal, where it is another one now",
    )
    limits: dict[str, LimitBody] | None = Field(
        default=None,
        max_length=100,
        description="By channel, in place of all that were stated before: a window whose mean lies beyond one is an"
        " alarm, single samples beyond are told in `rules`",
    )


class SystemReply(Reply):
    """A machine under diagnosis."""

    system_id: int
    name: str
    family: str
    units: dict[str, str] = Field(description="By channel, where they are not the family's")
    description: str
    state: StateName
    windows: int = Field(description="Stored since its commissioning began, or those that it was commissioned from")
    needed: int = Field(description="Windows that commissioning takes")
    alarm: AlarmReply
    is_anomaly: bool = Field(description="Whether its last window was judged an anomaly")
    limits: dict[str, LimitReply]
    created_at: datetime
    watched_until: datetime | None = Field(
        default=None, description="All windows of its readings up to this moment are judged; where one system is read"
    )


class EventReply(Reply):
    """Something that happened to a machine."""

    event_id: int
    at: datetime = Field(description="By the machine's own time")
    kind: EventKind
    text: str
    trace_id: UUID | None = Field(description="Of the diagnosis that tells of it, where there is one")
    created_at: datetime


class EventsReply(Reply):
    """One page of events, in the order in which they were found out."""

    events: list[EventReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")


class SystemsReply(Reply):
    """One page of systems in order of their id."""

    systems: list[SystemReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")
