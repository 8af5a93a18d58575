"""Turns every exception into an RFC 9457 problem that names field, value and rule, and quotes nothing of the inside."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.errors import (
    Conflict,
    HdxError,
    KeyInUse,
    MalformedBody,
    NotFound,
    Overloaded,
    QuotaExceeded,
    TooLarge,
    TooSlow,
    Unauthenticated,
    UnsupportedCoding,
    UnsupportedContent,
    cause_of,
)
from serve_app.shared import logs

MEDIA_TYPE = "application/problem+json"
SHOWN_MAX = 80
TEXT_MAX = 300
ERRORS_MAX = 20
# Bodies under it hold credentials: their values are never shown back.
SECRET_PATHS = ("/api/auth/", "/api/users/")
# What frameworks say by status alone: code, the part of the request it is about, rule.
KNOWN = {
    400: ("malformed-body", "body", "must be JSON in UTF-8"),
    404: ("not-found", "path", "must be a route of /openapi.json"),
    405: ("method-not-allowed", "method", "must be one that the Allow header names"),
    408: ("timeout", "", "the service did not answer in time"),
    429: ("overloaded", "", "more requests than the service takes now"),
    503: ("unavailable", "", "the service cannot take the request now"),
}
# What the validator says in words of its own inside: by its kind of error, the rule.
RULES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "should be an object"),
    "list_type": "should be an array",
    "string_unicode": "must be Unicode text, without half a surrogate pair",
}
NOISE = re.compile("^(Input|Value error,|String|List|Dictionary) +| after validation")


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller may know of an error.

    Attributes:
        members: Extension members, such as field, value and rule.
    """

    code: str
    status: int
    title: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str, trace_id: str) -> dict[str, Any]:
        """Return the problem object for one occurrence."""
        return {
            "type": f"urn:hdx:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "trace_id": trace_id,
            **self.members,
        }


class ProblemReply(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:hdx:problem:invalid-input",
                "title": "Invalid input",
                "status": 422,
                "detail": "sensor_data.pressure[3]: must be finite; got 'nan'",
                "instance": "/api/diagnostics/anomaly/detect/",
                "trace_id": "7f1c2f0a-8b1e-4a55-9a39-0d8c2f9f3c11",
                "field": "sensor_data.pressure[3]",
                "value": "nan",
                "rule": "must be finite",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: UUID
    field: str | None = None
    value: Any = None
    rule: str | None = None
    errors: list[dict[str, Any]] | None = None


INTERNAL = Problem("internal", 500, "Internal error", "the service failed; its log knows more under the trace id")


def problem_of(error: BaseException, show_values: bool = True) -> Problem:
    """Translate any exception; one that is not ours becomes `INTERNAL` without a word of its text."""
    error = cause_of(error)
    if isinstance(error, HdxError):
        return _of_ours(error)
    if isinstance(error, RequestValidationError):
        return _of_validation([{**one, "loc": _place(one["loc"], error.body)} for one in error.errors()], show_values)
    if isinstance(error, ValidationError):
        return _of_validation(error.errors(), show_values)
    if isinstance(error, HTTPException):
        return problem_of_status(error.status_code, error.headers)
    return INTERNAL


def under(problem: Problem, place: str) -> Problem:
    """Return the problem as one of an item of a list: its fields are named from the list on."""
    members = dict(problem.members)
    if "field" in members:
        members["field"] = f"{place}.{members['field']}"
    if "errors" in members:
        members["errors"] = [{**one, "field": f"{place}.{one['field']}"} for one in members["errors"]]
    return replace(problem, members=members)


def response_of(error: BaseException, path: str) -> Response:
    """Return the answer to the request in hand, and log what is the service's own fault."""
    problem = problem_of(error, show_values=not path.startswith(SECRET_PATHS))
    logs.note(code=problem.code)
    if problem.status >= 500:
        logs.write("request.failed", logging.ERROR, cause_of(error), code=problem.code, path=path)
    content = encode(problem.body(path, logs.trace_id()))
    return Response(content, problem.status, dict(problem.headers), MEDIA_TYPE)


async def handle(request: Request, error: Exception) -> Response:
    """Handle an exception for FastAPI."""
    return response_of(error, request.scope["path"])


def encode(body: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8; half a surrogate pair, which a caller may send, becomes a question mark."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _of_ours(error: HdxError) -> Problem:
    if type(error).status == HdxError.status:
        return INTERNAL
    members: dict[str, Any] = {}
    headers = {"connection": "close"} if isinstance(error, TooSlow) else {}  # else the server awaits the rest
    match error:
        case NotFound():
            members = {"field": error.kind, "value": error.key, "rule": "must exist in your tenant"}
        case Conflict():
            members = {"field": error.field, "value": error.value, "rule": error.rule}
            if isinstance(error, KeyInUse):
                headers["retry-after"] = str(error.retry_after_s)
        case MalformedBody():
            members = {"field": "body", "rule": error.rule}
        case TooLarge():
            members = {"field": error.field, "rule": f"must not exceed {error.limit} bytes", "limit": error.limit}
        case UnsupportedCoding():
            members = {"field": "content-encoding", "value": error.given, "rule": f"must be {error.accepted}"}
            headers["accept-encoding"] = error.accepted
        case UnsupportedContent():
            members = {"field": "content-type", "value": error.given, "rule": f"must be {error.accepted}"}
        case Unauthenticated():
            members = {"field": "authorization", "rule": error.rule}
            headers["www-authenticate"] = 'Bearer realm="hdx"'
        case QuotaExceeded():
            members = {"field": error.field, "rule": error.rule, "limit": error.limit}
            headers["retry-after"] = str(error.retry_after_s)
        case Overloaded():
            headers["retry-after"] = str(error.retry_after_s)
        case _:
            known = {name: getattr(error, name) for name in ("field", "value", "rule") if hasattr(error, name)}
            members = {name: shown(value) if name == "value" else value[:TEXT_MAX] for name, value in known.items()}
    return Problem(error.code, error.status, error.title, str(error)[:TEXT_MAX], members, headers)


def problem_of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem of an HTTP status that came without one of our errors."""
    if status >= 500 and status not in KNOWN:
        return replace(INTERNAL, status=status)
    code, place, rule = KNOWN.get(status, (f"http-{status}", "", "see the status"))
    members = {"field": place, "rule": rule} if place else {}
    return Problem(code, status, HTTPStatus(status).phrase.capitalize(), rule, members, headers or {})


def _of_validation(errors: Sequence[Any], show_values: bool) -> Problem:
    """Translate pydantic's list; a body that is no JSON at all is a 400 of its own."""
    first = errors[0]
    if first["type"] == "json_invalid":
        rule = f"must be JSON: {first.get('ctx', {}).get('error', 'broken')} at character {first['loc'][-1]}"
        return Problem("malformed-body", 400, "Malformed body", rule, {"field": "body", "rule": rule})
    found = [_entry(error, show_values) for error in errors[:ERRORS_MAX]]
    top = found[0]
    detail = f"{top['field']}: {top['rule']}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return Problem("invalid-input", 422, "Invalid input", detail, {**top, "errors": found})


def _place(location: Sequence[str | int], body: object) -> Sequence[str | int]:
    """Return where in a part of the request an error lies, which FastAPI names first, by what was sent alone.

    The validator also names which alternative of a field's type it tried, in words of the inside.
    """
    part, *inner = location
    if part != "body" or not isinstance(body, Mapping):
        return inner or location
    kept: list[str | int] = []
    content: Any = body
    for name in inner:
        if isinstance(name, str) and not isinstance(content, Mapping):
            continue
        kept.append(name)
        if isinstance(content, Mapping):
            content = content.get(name)
        else:
            content = content[name] if isinstance(content, list) and isinstance(name, int) else None
    return kept or location


def _entry(error: Mapping[str, Any], show_values: bool) -> dict[str, Any]:
    rule = RULES.get(error["type"]) or NOISE.sub("", error["msg"])
    entry: dict[str, Any] = {"field": json_path(error["loc"]), "rule": rule}
    if show_values and error["type"] != "missing":
        entry["value"] = shown(error.get("input"))
    return entry


def json_path(location: Sequence[str | int]) -> str:
    """Write pydantic's location as `sensor_data.pressure[3]`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.lstrip(".")[:TEXT_MAX] or "body"


def shown(value: object) -> object:
    """Return a value that JSON can hold and a log may: scalars cut short, the kind of anything larger."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | float | None) or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    if isinstance(value, int):
        return "an integer beyond 2^53"
    if isinstance(value, str):
        return value[:SHOWN_MAX]
    if isinstance(value, list | tuple):
        return f"array of {len(value)}"
    return "object" if isinstance(value, dict) else type(value).__name__


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of the problems a route may answer with, the usual ones included.

    Whoever is known has quotas; a body has a limit, and a time to come in.
    """
    usual = {422, 500, *({429} if 401 in statuses else ()), *({408} if 413 in statuses else ())}
    schema = {"$ref": "#/components/schemas/ProblemReply"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*statuses, *usual})
    }
