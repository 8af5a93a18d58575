"""What all bodies and answers are built of: the two base classes, and the types that fields share.

Arrays of samples pass through unread here: `pipelines/signals/channels` checks them in one vectorised pass.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

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
        ValueError: It holds a NUL character.
    """
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


Text = Annotated[str, AfterValidator(storable)]
Question = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(storable)
]
# Source: PostgreSQL `integer`, the type of the key.
Key = Annotated[int, Field(strict=True, ge=1, le=2_147_483_647)]
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
    list[Any], Field(min_length=1), WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "object"}})
]
Rate = Annotated[
    float | None,
    Field(strict=True, description="Samples a second, above 0; left out, the family's own rate"),
]


class Body(BaseModel):
    """What a caller sends; a field nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a caller gets."""


def example(**values: Any) -> ConfigDict:
    """Return the configuration of a body with its example."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": values})
