"""What is told of quotas."""

from typing import Literal

from pydantic import Field

from serve_app.api.schemas.base import Reply


class QuotaReply(Reply):
    """One quota."""

    policy: str = Field(description="As `RateLimit-Policy` names it", examples=["tenant-chat"])
    of: Literal["tenant", "account", "key", "address"] = Field(description="Whose requests it counts")
    requests: str = Field(description="Of which kind", examples=["chat"])
    limit: int = Field(description="Requests a minute")
    used: int = Field(description="In the last minute, by all replicas, as far as this one knows")
    remaining: int


class LimitsReply(Reply):
    """The quotas of a caller."""

    window_s: int = Field(description="Seconds that a quota is of; they slide")
    reset_s: int = Field(description="Until the present minute ends")
    quotas: list[QuotaReply]
