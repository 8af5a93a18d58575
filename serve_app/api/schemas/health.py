"""Answers of the health checks (`api/health`), those of the internal face included."""

from typing import Literal

from pydantic import ConfigDict, Field

from serve_app.api.schemas.base import Reply

State = Literal["ok", "degraded", "down"]


class HealthReply(Reply):
    """The whole service's state; `redis` is there while Redis is configured."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "healthy",
                "timestamp": 1699548271.234,
                "checks": {"database": "ok", "cache": "ok", "ml_service": "ok", "rag_service": "ok"},
            }
        }
    )

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: float = Field(description="Seconds since 1970")
    checks: dict[str, State]


class LiveReply(Reply):
    """The process answers."""

    status: Literal["alive"]


class MlHealthReply(Reply):
    """The detectors' state."""

    status: Literal["healthy", "degraded", "unhealthy"]
    models_loaded: list[str]
    cache_status: Literal["connected", "disconnected"]
    timestamp: float


class RagHealthReply(Reply):
    """The assistant's state."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: float
    service: Literal["rag-service"]
    version: str
