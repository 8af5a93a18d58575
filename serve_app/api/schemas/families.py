"""Bodies and answers of `api/families`."""

from datetime import datetime
from typing import Any

from pydantic import Field

from pipelines.machines.definition import Definition, Name
from serve_app.api.schemas.base import Reply, example

EXAMPLE: dict[str, Any] = {
    "title": "Deep-drawing press",
    "window_s": 60,
    "channels": {
        "pressure": {"unit": "bar", "typical": 180},
        "oil temperature": {"unit": "degC"},
        "motor current": {"unit": "A", "low": 0, "high": 200, "typical": 41},
    },
}


class FamilyBody(Definition):
    """A machine kind: 1 to 64 channels of any name and unit."""

    model_config = example(**EXAMPLE)


class NewFamilyBody(FamilyBody):
    """A machine kind with the name that systems will bear."""

    model_config = example(name="press", **EXAMPLE)

    name: Name


class FamilyChannelReply(Reply):
    """One channel, with all that was left to HDX filled in."""

    unit: str
    low: float
    high: float
    typical: float
    spread: float
    relation: str
    rate_hz: float
    required: bool


class FamilyReply(Reply):
    """A machine kind."""

    name: str
    title: str
    built_in: bool = Field(description="Shipped with HDX, and not to be changed: copy it under a name of your own")
    version: int | None = Field(description="From 1; null for those that are shipped")
    window_s: float
    channels: dict[str, FamilyChannelReply]
    components: list[str] = Field(description="Parts that its trained members name")
    severity: dict[str, float]
    actor: str | None
    created_at: datetime | None


class FamiliesReply(Reply):
    """One page of machine kinds: first those that are shipped, then the tenant's own in order of their names."""

    families: list[FamilyReply]
    next: str | None = Field(description="Send it as `after` for the next page; null on the last one")
