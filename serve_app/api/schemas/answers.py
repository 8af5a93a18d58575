"""Body and answer of `api/answers`."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example


class AnswerFeedbackBody(Body):
    """What an answer to a question was worth."""

    model_config = example(verdict="wrong", comment="That is the torque of the M12 bolts, I asked for M10")

    verdict: Literal["helped", "wrong", "missing"] = Field(
        description="It `helped`; it says something `wrong`; what was asked for is `missing`, abstained or not"
    )
    comment: Text = Field(default="", max_length=1000)


class AnswerFeedbackReply(Reply):
    """What is kept: the account's last word on the answer."""

    trace_id: UUID
    verdict: Literal["helped", "wrong", "missing"]
    comment: str
    actor: str
    created_at: datetime
