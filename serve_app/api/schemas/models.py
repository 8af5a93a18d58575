"""Bodies and answers of `api/models`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from serve_app.api.schemas.base import Body, Flag, Reply, Text


class RolloutReply(Reply):
    """A version on its way in, and what it did so far on the windows that the live version judged."""

    version: str
    stage: Literal["shadow", "canary", "urgent"]
    since: datetime
    windows: int = Field(description="Judged by both versions")
    errors: int = Field(description="Windows on which it failed")
    disagreements: int = Field(description="Windows that it calls otherwise")
    answered: int = Field(description="Windows that it answered itself")


class DriftReply(Reply):
    """A change that was found: of inputs, scores, a system's normal, or the calibration on feedback."""

    system_id: int | None = Field(description="Null for the family as a whole")
    kind: Literal["input", "score", "baseline", "calibration"]
    what: str
    since: int = Field(description="Windows, or judgements with feedback, since it began")
    statistic: float
    threshold: float


class FleetReply(Reply):
    """What stands where in the registry, and what the replicas answer with."""

    champion: str = Field(description="What people want to be live")
    live: str
    previous: str = Field(description="Still in memory; empty while there is none")
    replicas: dict[str, int] = Field(description="Replicas by the version that they answer with")
    rollout: RolloutReply | None
    drift: list[DriftReply] = Field(description="Of the family, and of your own systems")


class ModelReply(Reply):
    """One detector's trained version of one family, as its replica holds it now."""

    name: str = Field(description="Of the registered model in MLflow")

    family: str
    detector: str
    version: str
    sha256: str
    usable: bool
    reason: str
    fleet: FleetReply | None = Field(description="Null while the promoter does not answer")


# In the words of a schema, what `_urgency_has_a_reason` asks.
URGENT: dict[str, Any] = {"properties": {"urgent": {"const": True}}, "required": ["urgent"]}
REASONED: dict[str, Any] = {"properties": {"reason": {"pattern": r"\S"}}, "required": ["reason"]}


class PromoteBody(Body):
    """A version to make live."""

    model_config = Body.model_config | ConfigDict(json_schema_extra={"if": URGENT, "then": REASONED})

    version: str = Field(pattern=r"^[1-9][0-9]{0,8}$", examples=["2"])
    urgent: Flag = Field(False, description="Skips every gate but loading and the probe window; needs a reason")
    reason: Text = Field("", max_length=500)

    @model_validator(mode="after")
    def _urgency_has_a_reason(self) -> "PromoteBody":
        if self.urgent and not self.reason.strip():
            raise ValueError("urgent: say the reason; it is written into the audit")
        return self


class MoveReply(Reply):
    """What is under way now; `GET /api/models/` shows how far."""

    name: str
    version: str = Field(description="Shall be live")


class ModelsReply(Reply):
    """All trained versions that serve now."""

    models: list[ModelReply]
