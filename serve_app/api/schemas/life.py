"""Bodies and answers of `api/baselines`, and what answers say of a system's life."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from pipelines.machines.commissioning import State
from serve_app.api.schemas.base import Body, Moment, Number, Reply, example

# Source: own choice; an operating point is known by fewer windows than a commissioning has.
ACCEPTED_MAX = 100

StateName = State


class LimitBody(Body):
    """Values that a channel must keep between."""

    low: Number | None = None
    high: Number | None = None


class LimitReply(Reply):
    """Values that people say a channel must keep between; null where none is stated."""

    low: float | None
    high: float | None


class AlarmReply(Reply):
    """A system's alarm: evidence over its windows, with a stated rate of false alarms."""

    raised: bool
    evidence: float = Field(ge=0, description="Sum of what its windows say against it being well")
    needed: float = Field(description="Evidence at which the alarm is raised")
    since: datetime | None = Field(description="When the alarm was raised; null while it is not")
    unseen: int = Field(
        ge=0,
        description="Windows up to now at a load that commissioning did not show, which nobody judges: where they go "
        "on, accept the operating point or look at the machine",
    )


class SystemStateReply(Reply):
    """Where a system stands in its life."""

    state: StateName
    windows: int = Field(description="Stored since its commissioning began, or those that it was commissioned from")
    needed: int = Field(description="Windows that commissioning takes")
    alarm: AlarmReply


class BaselineBody(Body):
    """What is normal, and from which windows; an empty body ends a commissioning with what was stored."""

    model_config = example(**{"from": "2026-11-02T06:00:00Z", "to": "2026-11-02T07:00:00Z"})

    begin: Moment | None = Field(default=None, alias="from", description="Of the first stored window to learn")
    end: Moment | None = Field(default=None, alias="to", description="Of the last one")
    accept: list[UUID] | None = Field(
        default=None,
        min_length=1,
        max_length=ACCEPTED_MAX,
        description="Diagnoses whose windows show one more operating point",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.begin is None) != (self.end is None):
            raise ValueError("from and to belong together")
        if self.accept is not None and self.begin is not None:
            raise ValueError("send either from and to, or accept")
        return self


class LevelReply(Reply):
    """What is normal for one channel at an operating point."""

    level: float | None = Field(description="Mean of its windows today")
    learned: float | None = Field(description="The same when it was commissioned")
    scatter: float | None = Field(description="Standard deviation between windows")
    unit: str


class OperatingPointReply(Reply):
    """One load that a machine runs at."""

    number: int = Field(description="From 1, the most frequent first")
    windows: float = Field(description="Behind what is known of it; old ones fade")
    channels: dict[str, LevelReply]


class BaselineReply(Reply):
    """What is normal for a system."""

    system_id: int
    state: StateName
    windows: int = Field(description="Stored since its commissioning began, or those that it was commissioned from")
    needed: int = Field(description="Windows that commissioning takes")
    since: datetime = Field(description="When its commissioning began")
    left_out: int = Field(description="Windows of its commissioning that were unlike the others")
    operating_points: list[OperatingPointReply]
    notes: list[str] = Field(description="What speaks against the windows that it was learned from")
    limits: dict[str, LimitReply]
