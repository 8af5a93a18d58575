"""Body and answer of `api/feedback`."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example


class FeedbackBody(Body):
    """What is true of a window that was judged."""

    model_config = example(verdict="confirmed", note="Measured flow and case drain: all in order")

    verdict: Literal["confirmed", "false_alarm", "missed"] = Field(
        description="`confirmed`: the answer is right, alarm or not; `false_alarm`: nothing was wrong; "
        "`missed`: something was wrong"
    )
    component: Text | None = Field(
        default=None,
        max_length=100,
        description="What was wrong: a component of a shipped family; of a family of your own, as you call the part",
    )
    note: Text = Field(default="", max_length=2000)


class FeedbackReply(Reply):
    """What is kept: the last word on an answer."""

    trace_id: UUID
    verdict: Literal["confirmed", "false_alarm", "missed"]
    anomalous: bool = Field(description="What the verdict says of the window")
    component: str | None
    note: str
    actor: str
    created_at: datetime
