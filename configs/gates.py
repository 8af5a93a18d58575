"""The limits that a new version must hold before it answers, read from `configs/gates.yaml`.

`pipelines/promotion` judges candidates by them.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).parent / "gates.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageRule(_Part):
    """When a stage has seen enough.

    Attributes:
        windows: Seen by the candidate.
        patience_s: Seconds after which it ends with what there is.
        share: Of the systems, answered by the candidate.
    """

    windows: int = Field(ge=1)
    patience_s: float = Field(gt=0)
    share: float = Field(0, ge=0, le=1)


class Limits(_Part):
    """Beyond these a candidate is sent back; each compares it with the live version on the same windows.

    Attributes:
        errors: Windows on which it failed.
        disagreement: Share of windows that it calls otherwise.
        alarm_shift: Change of the share of alarms.
        latency: Ratio of the time a window takes.
        log_loss: Increase of the mean log loss on windows with feedback.
    """

    errors: int = Field(ge=0)
    disagreement: float = Field(gt=0, le=1)
    alarm_shift: float = Field(gt=0, le=1)
    latency: float = Field(gt=1)
    log_loss: float = Field(ge=0)


class Gates(_Part):
    """Every gate; the file says where each number comes from."""

    shadow: StageRule
    canary: StageRule
    limits: Limits
    confidence: float = Field(gt=0.5, lt=1)
    feedback_windows: int = Field(ge=2)
    batches: int = Field(ge=1)
    history_windows: int = Field(ge=0)
    duty: float = Field(gt=0, le=1)
    copies: int = Field(ge=1)
    settle_s: float = Field(ge=0)
    report_s: float = Field(gt=0)
    webhook_age_s: float = Field(gt=0)


@cache
def read_gates() -> Gates:
    """Read the gates that are shipped.

    Raises:
        pydantic.ValidationError: A number breaks its rule or a name is unknown.
    """
    return Gates.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))
