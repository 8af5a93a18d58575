"""Bodies and answers of `api/readings`."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from serve_app.api.schemas.base import LARGEST, Body, Reply, example, whole
from serve_app.api.schemas.files import FILES

ROW = {"at": "2026-11-02T06:00:00Z", "pressure": 101.2, "temperature": 45.3, "flow": 25.0, "vibration": 0.54}
# Rows are read by hand, so that one bad value is set aside and refuses nothing: the contract is told here.
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["readings"],
                "additionalProperties": False,
                "properties": {
                    "readings": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 10_000,
                        "items": {
                            "type": "object",
                            "required": ["at"],
                            "properties": {
                                "at": {"type": "string", "format": "date-time", "description": "With its zone"},
                                "quality": {
                                    "description": "Of the row: a word, as good, true or false, or a number of OPC DA",
                                },
                            },
                            "additionalProperties": {
                                "description": "By channel, in the unit that the system speaks; null where none is"
                            },
                        },
                    }
                },
            },
            "example": {"readings": [ROW]},
        },
        **FILES,
    },
}


class SentReply(Reply):
    """What became of the values that were sent, each counted once."""

    system_id: int
    written: int = Field(description="New")
    unchanged: int = Field(description="Sent before, and the same")
    corrected: int = Field(description="Sent before with another value, in whose place they stand now")
    quarantined: int = Field(description="Set aside with a reason: GET .../readings/quarantine/")
    empty: int = Field(description="Channels without a value at a moment")
    notes: list[str] = Field(description="How a file was read: which column as what, and what was left out")


class SeriesReply(Reply):
    """One channel over the span."""

    channel: str
    unit: str | None = Field(description="Null where the family has the channel no longer")
    count: int = Field(description="Readings in the span")
    downsampled: bool = Field(description="Whether first, least, greatest and last of each part stand for the rest")
    at: list[datetime]
    values: list[float]


class ReadingsReply(Reply):
    """What a system sent."""

    system_id: int
    begin: datetime = Field(alias="from")
    end: datetime = Field(alias="to", description="Outside the span")
    channels: list[SeriesReply]


class QuarantinedReply(Reply):
    """A value that was set aside."""

    quarantine_id: int
    channel: str = Field(description="As it was sent")
    at: datetime
    value: str
    reason: str
    created_at: datetime = Field(description="When it came")


Number = Annotated[int, Field(strict=True, ge=1, le=LARGEST), BeforeValidator(whole)]
Numbers = Annotated[list[Number], Field(max_length=1000)]


class SettleBody(Body):
    """What becomes of values that were set aside, each by its `quarantine_id`; all of it, or nothing."""

    model_config = example(accept=[17, 18], dismiss=[19])

    accept: Numbers = Field(default=[], description="Those that are readings all the same")
    dismiss: Numbers = Field(default=[], description="Those that are none")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        both = [*self.accept, *self.dismiss]
        if not both or len(set(both)) < len(both):
            raise ValueError("must name 1 to 1000 of either, each once")
        return self


class SettledReply(Reply):
    """How many were decided on."""

    system_id: int
    accepted: int
    dismissed: int


class QuarantineReply(Reply):
    """One page of what was set aside, in the order in which it came."""

    quarantine: list[QuarantinedReply]
    next: int | None
