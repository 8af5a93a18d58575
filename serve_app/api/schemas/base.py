"""What all bodies and answers are built of: the two base classes, and the types that fields share.

Arrays of samples pass through unread here: `pipelines/signals/channels` checks them in one vectorised pass.
"""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from pipelines.signals.channels import RATE_MAX_HZ

# A healthy machine: the very window of the quickstart.
HEALTHY = {
    "pressure": [100.5, 101.2, 99.8, 100.1, 100.3],
    "temperature": [45.3, 45.1, 45.5, 45.2, 45.4],
    "flow": [25.0, 24.8, 25.2, 25.1, 24.9],
    "vibration": [0.5, 0.6, 0.5, 0.5, 0.6],
}


def storable(text: str) -> str:
    """Return a text that the database can hold.

    Raises:
        ValueError: It holds a NUL character, or half of another.
    """
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without half a surrogate pair") from None
    return text


def whole(value: object) -> object:
    """Return a number without a fraction as an integer: JSON knows one kind of number, and 24.0 is 24."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def written_out(value: object) -> object:
    """Return a moment that is written as one: a number could be one of any unit.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, str) or not WRITTEN.match(value):
        raise ValueError("must be a moment that names its zone, as 2026-11-02T06:00:00Z")
    return value


# Source: RFC 3339.
WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d")
Moment = Annotated[AwareDatetime, BeforeValidator(written_out)]
# What `storable` asks, in the words of a schema.
WITHOUT_NUL = Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
Text = Annotated[str, AfterValidator(storable), WITHOUT_NUL]
Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
    AfterValidator(storable),
    Field(json_schema_extra={"pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}),
]
# Strict: neither true nor a text is a number, and neither 1 nor "yes" is true.
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
# Source: RFC 7493, the largest number that all readers of JSON keep whole; no key of 64 bits comes near it.
LARGEST = 2**53 - 1
# Source: PostgreSQL `integer`, the type of the key.
Key = Annotated[int, Field(strict=True, ge=1, le=2_147_483_647), BeforeValidator(whole)]
Few = Annotated[int, Field(strict=True, ge=1, le=10), BeforeValidator(whole)]
Samples = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "By channel of the family, simultaneous samples in order of time, all of one length",
            "minProperties": 1,
            "additionalProperties": {
                "type": "array",
                "items": {"type": ["number", "null"], "description": "Null where a sample is missing"},
                "minItems": 3,
                "maxItems": 10_000,
            },
        }
    ),
]
Items = Annotated[
    list[Any],
    Field(min_length=1),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "description": "At most as many as `HDX_LIMITS__BATCH` says, 256 where it says nothing",
            "items": {"description": "As the route of one takes it; what is none has its own problem at its place"},
        }
    ),
]
Rate = Annotated[
    float | None,
    Field(
        strict=True,
        description="Samples a second; left out, the family's own rate",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": RATE_MAX_HZ},
    ),
]


class Body(BaseModel):
    """What a caller sends; a field nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a caller gets."""


def example(**values: Any) -> ConfigDict:
    """Return the configuration of a body with its example."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": values})
