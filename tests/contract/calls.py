"""What the tests of the HTTP face send, and the shape that every error has."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import UUID

from serve_app.api.problems import ProblemReply
from serve_app.api.schemas.base import HEALTHY
from tests.contract.stand_ins import ML_KEY

LogIn = Callable[..., dict[str, str]]
DETECT = "/api/diagnostics/anomaly/detect/"
PREDICT = "/internal/ml/api/v1/predict"
INTERNAL = {"x-internal-api-key": ML_KEY}
WINDOW: dict[str, Any] = {"system_id": 1, "sensor_data": HEALTHY}
PREDICTION: dict[str, Any] = {"sensor_data": {"system_id": 1, "pressure": [100.5, 101.2, 99.8]}, "use_cache": False}
DETECT_KEYS = [
    "system_id",
    "prediction",
    "ensemble_score",
    "attribution",
    "ml_predictions",
    "threshold_used",
    "features_extracted",
    "data_quality",
    "system",
    "cache_hit",
    "total_processing_time_ms",
    "trace_id",
]
CHAT: dict[str, Any] = {"model": "hdx-assistant", "messages": [{"role": "user", "content": "why"}]}
OPEN = [
    *("/health/", "/health/live", "/health/ready", "/internal/ml/health", "/internal/rag/health", "/openapi.json"),
    "/.well-known/jwks.json",
]
UNKNOWN = UUID(int=0)  # the same in every process: it is part of the names of tests
GUARDED: list[tuple[str, str, Any]] = [
    ("POST", DETECT, WINDOW),
    ("POST", DETECT + "batch/", {"items": [WINDOW]}),
    ("POST", "/api/diagnostics/diagnose/", WINDOW),
    ("GET", f"/api/diagnostics/{UNKNOWN}/", None),
    ("POST", f"/api/diagnostics/{UNKNOWN}/replay/", None),
    ("POST", f"/api/diagnostics/{UNKNOWN}/feedback/", {"verdict": "confirmed"}),
    ("POST", "/api/rag/query/", {"query": "why"}),
    ("POST", f"/api/rag/answers/{UNKNOWN}/feedback/", {"verdict": "helped"}),
    ("GET", "/api/rag/documents/", None),
    ("GET", "/api/rag/documents/d1/", None),
    ("GET", "/api/rag/documents/d1/pages/1/", None),
    ("GET", "/api/rag/documents/d1/flagged/", None),
    ("POST", "/api/rag/documents/d1/reindex/", None),
    ("DELETE", "/api/rag/documents/d1/", None),
    ("GET", "/api/families/", None),
    ("POST", "/api/families/", {"name": "press", "title": "Press", "channels": {"pressure": {"unit": "bar"}}}),
    ("POST", "/api/families/proposal/?name=press", None),
    ("GET", "/api/families/generic/", None),
    ("PUT", "/api/families/press/", {"title": "Press", "channels": {"pressure": {"unit": "bar"}}}),
    ("DELETE", "/api/families/press/", None),
    ("GET", "/api/systems/", None),
    ("POST", "/api/systems/", {"name": "Press 2", "family": "generic"}),
    ("GET", "/api/systems/1/", None),
    ("PATCH", "/api/systems/1/", {"name": "Press 3"}),
    ("DELETE", "/api/systems/1/", None),
    ("GET", "/api/systems/1/baseline/", None),
    ("POST", "/api/systems/1/baseline/", {}),
    ("DELETE", "/api/systems/1/baseline/", None),
    ("POST", "/api/systems/1/baseline/file/", None),
    ("POST", "/api/systems/1/readings/", {"readings": [{"at": "2026-03-01T00:00:00Z", "pressure": 101.2}]}),
    ("GET", "/api/systems/1/readings/", None),
    ("GET", "/api/systems/1/readings/quarantine/", None),
    ("POST", "/api/systems/1/readings/quarantine/", {"dismiss": [1]}),
    ("GET", "/api/jobs/", None),
    ("GET", f"/api/jobs/{UNKNOWN}/", None),
    ("POST", f"/api/jobs/{UNKNOWN}/cancel/", None),
    ("GET", "/api/limits/", None),
    ("GET", "/api/models/", None),
    ("POST", "/api/models/hdx-generic-catboost/promote/", {"version": "2"}),
    ("POST", "/api/models/hdx-generic-catboost/rollback/", None),
    ("GET", "/v1/models", None),
    ("POST", "/v1/chat/completions", CHAT),
]
NEW_USER = {"username": "bob", "email": "bob@example.com", "role": "viewer", "password": "a lamp for the cellar"}
NEW_KEY = {"name": "line 5", "role": "operator"}
OF_ADMINS: list[tuple[str, str, Any]] = [
    ("GET", "/api/users/", None),
    ("POST", "/api/users/", NEW_USER),
    ("GET", "/api/users/3/", None),
    ("PATCH", "/api/users/3/", {"role": "viewer"}),
    ("POST", "/api/users/3/password/", {"password": "a lamp for the cellar"}),
    ("GET", "/api/users/3/sessions/", None),
    ("DELETE", "/api/users/3/sessions/", None),
    ("DELETE", f"/api/users/3/sessions/{UNKNOWN}/", None),
    ("GET", "/api/keys/", None),
    ("POST", "/api/keys/", NEW_KEY),
    ("DELETE", "/api/keys/1/", None),
]
OWN_PASSWORD = {"current_password": "what it is", "new_password": "a lamp for the cellar"}


STREAM = {"accept": "text/event-stream"}


def read_events(text: str) -> list[tuple[str, Any]]:
    """Read server-sent events, each with its name and its data."""
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


class Replied(Protocol):
    """What these tests read of a reply."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


def assert_problem(reply: Replied, status: int, code: str) -> dict[str, Any]:
    """Check the shape that every error has, and return it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    ProblemReply.model_validate(problem)
    assert problem["type"] == f"urn:hdx:problem:{code}"
    assert problem["status"] == status
    assert problem["trace_id"] == reply.headers["x-request-id"]
    return problem
