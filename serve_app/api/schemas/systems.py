"""Bodies and answers of `api/systems`."""

from datetime import datetime

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example


class SystemBody(Body):
    """A new system."""

    model_config = example(name="Press 4", family="generic", description="Main power unit, hall 2")

    name: Text = Field(min_length=1, max_length=200)
    family: Text = Field(max_length=100)
    description: Text = Field(default="", max_length=2000)


class SystemChangeBody(Body):
    """What changes; the family cannot, as the baseline belongs to it."""

    model_config = example(description="Moved to hall 3")

    name: Text | None = Field(default=None, min_length=1, max_length=200)
    description: Text | None = Field(default=None, max_length=2000)


class SystemReply(Reply):
    """A machine under diagnosis."""

    system_id: int
    name: str
    family: str
    description: str
    alarm: bool = Field(description="Whether its last window was an alarm")
    created_at: datetime


class SystemsReply(Reply):
    """One page of systems in order of their id."""

    systems: list[SystemReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")
