"""Everything a caller can get wrong: a problem that names field, value and rule; nothing leaks, nothing is stored."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient

from serve_app.api.schemas.base import HEALTHY
from serve_app.shared.credentials import TokenIssuer
from serve_app.store.records import Principal
from tests.contract.calls import DETECT, PREDICT, WINDOW, LogIn, assert_problem
from tests.contract.stand_ins import ML_KEY, PASSWORD, Bench

JSON = {"content-type": "application/json"}
LONG = [100.0] * 10_001


def window(**changes: Any) -> dict[str, Any]:
    """The healthy window with some channels changed."""
    return {"system_id": 1, "sensor_data": {**HEALTHY, **changes}}


# What is sent, which field is named, what is shown of the value.
WINDOWS: dict[str, tuple[dict[str, Any], str, object]] = {
    "string": (window(pressure=[100.5, "101.2", 99.8, 100.1, 100.3]), "sensor_data.pressure[1]", "101.2"),
    "null": (window(pressure=[100.5, None, None, 100.1, 100.3]), "sensor_data.pressure[1]", None),
    "boolean": (window(pressure=[100.5, True, 99.8, 100.1, 100.3]), "sensor_data.pressure[1]", True),
    "nested array": (window(pressure=[[1.0], 2.0, 3.0, 4.0, 5.0]), "sensor_data.pressure[0]", ...),
    "no array": (window(pressure=100.5), "sensor_data.pressure", 100.5),
    "object": (window(pressure={"a": 1}), "sensor_data.pressure", ...),
    "empty array": (window(pressure=[]), "sensor_data.pressure", 0),
    "two values": (window(pressure=[100.5, 101.2]), "sensor_data.pressure", 2),
    "10,001 values": (window(pressure=LONG), "sensor_data.pressure", 10_001),
    "unequal lengths": (window(pressure=[100.5, 101.2, 99.8, 100.1]), "sensor_data.temperature", 5),
    "out of range": (window(pressure=[100.5, -50_000.0, 99.8, 100.1, 100.3]), "sensor_data.pressure[1]", -50_000.0),
    "huge integer": (window(pressure=[10**400, 1, 2, 3, 4]), "sensor_data.pressure[0]", ...),
    "unknown channel": (window(humidity=[1.0] * 5), "sensor_data.humidity", "humidity"),
    "no channel": ({"system_id": 1, "sensor_data": {}}, "sensor_data", None),
    "no sensor data": ({"system_id": 1}, "sensor_data", ...),
    "array for an object": ({"system_id": 1, "sensor_data": [1, 2, 3]}, "sensor_data", "array of 3"),
    "no system": ({"sensor_data": HEALTHY}, "system_id", ...),
    "system as text": ({**WINDOW, "system_id": "1"}, "system_id", "1"),
    "system as boolean": ({**WINDOW, "system_id": True}, "system_id", True),
    "system as fraction": ({**WINDOW, "system_id": 1.5}, "system_id", 1.5),
    "negative system": ({**WINDOW, "system_id": -1}, "system_id", -1),
    "system past the key's type": ({**WINDOW, "system_id": 2**63}, "system_id", ...),
    "unknown field": ({**WINDOW, "threshold": 0.1}, "threshold", 0.1),
    "rate of zero": ({**WINDOW, "sampling_hz": 0}, "sampling_hz", 0),
    "rate as text": ({**WINDOW, "sampling_hz": "1"}, "sampling_hz", "1"),
}
# NaN and infinity are no JSON, but many clients send them.
LITERALS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf", "1e999": "inf"}


@pytest.fixture(autouse=True)
def _nothing_is_stored(bench: Bench) -> Iterator[None]:
    """Hold for every test here: no row of a diagnosis, and no change of a system."""
    before = dict(bench.store.owned)
    yield
    assert bench.store.recorded == []
    assert bench.store.owned == before


@pytest.mark.parametrize("case", WINDOWS)
def test_a_bad_window_names_field_value_and_rule(client: TestClient, headers: LogIn, bench: Bench, case: str) -> None:
    """The problem points at the very value; the ensemble is not asked."""
    body, field, value = WINDOWS[case]
    problem = assert_problem(client.post(DETECT, json=body, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field
    assert problem["rule"]
    if value is not ...:
        assert problem["value"] == value
    assert bench.diagnoser.asked == []


@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.parametrize("path", [DETECT, PREDICT])
def test_values_that_are_no_number_are_refused(client: TestClient, headers: LogIn, literal: str, path: str) -> None:
    """NaN and infinity, spelt out or by overflow, are named with their place; the problem itself is valid JSON."""
    text = f'{{"sensor_data": {{"system_id": 1, "pressure": [100.5, {literal}, 99.8]}}}}'
    if path == DETECT:
        text = f'{{"system_id": 1, "sensor_data": {{"pressure": [100.5, {literal}, 99.8]}}}}'
    reply = client.post(path, content=text, headers={**headers(), **JSON, "x-internal-api-key": ML_KEY})
    problem = assert_problem(reply, 422, "invalid-input")
    assert (problem["field"], problem["value"]) == ("sensor_data.pressure[1]", LITERALS[literal])
    assert "NaN" not in reply.text


def test_all_faults_of_an_envelope_are_listed(client: TestClient, headers: LogIn) -> None:
    """A caller mends all of them at once; the first stands at the top."""
    reply = client.post(DETECT, json={"system_id": "x", "sensor_data": 3, "extra": 1}, headers=headers())
    problem = assert_problem(reply, 422, "invalid-input")
    errors: Any = problem["errors"]
    assert {error["field"] for error in errors} == {"system_id", "sensor_data", "extra"}
    assert {"field", "rule"} <= set(errors[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut short", b'{"system_id": 1, "sensor_data": {"pressure": [1.0,'),
        ("single quotes", b"{'system_id': 1}"),
        ("no UTF-8", b'{"system_id": "\xff\xfe"}'),
        ("too deep", b"[" * 200_000),
    ],
)
def test_broken_json_is_a_malformed_body(client: TestClient, headers: LogIn, name: str, content: bytes) -> None:
    """400 with the rule; nothing of the parser's own text that could hold a path."""
    reply = client.post(DETECT, content=content, headers={**headers(), **JSON})
    problem = assert_problem(reply, 400, "malformed-body")
    assert problem["field"] == "body"
    assert "JSON" in str(problem["rule"])


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"text"', b"3"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, headers: LogIn, content: bytes) -> None:
    """Valid JSON of the wrong kind is named as such."""
    reply = client.post(DETECT, content=content, headers={**headers(), **JSON})
    problem = assert_problem(reply, 422, "invalid-input")
    assert problem["field"] == "body"
    assert problem["rule"] in {"should be an object", "is required"}


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({"items": [3]}, "should be an object"),
        ({"items": [{"system_id": 1, "sensor_data": 3}]}, "should be an object"),
        ({"items": []}, "should have at least 1 item, not 0"),
        ({"items": 3}, "should be an array"),
    ],
)
def test_a_rule_is_told_in_the_words_of_the_contract(
    client: TestClient, headers: LogIn, body: dict[str, Any], rule: str
) -> None:
    """Neither the names of classes nor of a language's kinds of value."""
    reply = client.post(f"{DETECT}batch/", json=body, headers=headers()).json()
    assert reply.get("results", [reply])[0]["rule"] == rule


@pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_another_content_type_is_unsupported(client: TestClient, headers: LogIn, given: str) -> None:
    """415 names what was given and what is read."""
    sent = {**headers(), "content-type": given} if given else headers()
    problem = assert_problem(client.post(DETECT, content=b"{}", headers=sent), 415, "unsupported-content")
    assert (problem["field"], problem["value"]) == ("content-type", given)
    assert "application/json" in str(problem["rule"])


@pytest.mark.parametrize("given", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_written_in_other_ways(client: TestClient, headers: LogIn, given: str) -> None:
    """Case and parameters of the content type do not matter."""
    reply = client.post(DETECT, content=b"{}", headers={**headers(), "content-type": given})
    assert reply.status_code == 422


def chunks(size: int) -> Iterator[bytes]:
    """A body without a length, as a stream sends it."""
    for _ in range(size // 10_000):
        yield b" " * 10_000


@pytest.mark.parametrize("streamed", [False, True])
def test_a_two_megabyte_body_is_too_large(client: TestClient, headers: LogIn, streamed: bool) -> None:
    """413 names the limit, by the declared length and by the bytes as they come."""
    content: Any = chunks(2_000_000) if streamed else b" " * 2_000_000
    problem = assert_problem(client.post(DETECT, content=content, headers={**headers(), **JSON}), 413, "too-large")
    assert problem["field"] == "body"
    assert "1000000" in str(problem["rule"])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "setting"), [(DETECT, "body_bytes"), ("/api/rag/documents/", "document_bytes")])
def test_a_body_may_be_just_as_long_as_the_limit(
    client: TestClient, bench: Bench, headers: LogIn, path: str, setting: str, streamed: bool
) -> None:
    """The limit itself is allowed, one byte more is not; so for JSON and for uploads, declared or streamed."""
    limit = getattr(bench.services.settings.limits, setting)
    content_type = JSON if path == DETECT else {"content-type": "multipart/form-data; boundary=x"}
    for size in (limit, limit + 1):
        content: Any = iter([b" " * size]) if streamed else b" " * size
        reply = client.post(path, content=content, headers={**headers("engineer"), **content_type})
        assert (reply.status_code == 413) == (size > limit), reply.text


def test_a_false_length_does_not_help(client: TestClient, headers: LogIn) -> None:
    """What counts is what arrives."""
    sent = {**headers(), **JSON, "content-length": "10"}
    assert_problem(client.post(DETECT, content=b" " * 2_000_000, headers=sent), 413, "too-large")


Forge = Callable[[dict[str, Any], dict[str, Any]], str]


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    return jwt.encode(claims, "", algorithm="none", headers={"kid": header.get("kid")})


def foreign(claims: dict[str, Any], header: dict[str, Any]) -> str:
    """Under another key."""
    return jwt.encode(
        claims, "another key of sufficient length, 32+", algorithm="HS256", headers={"kid": header["kid"]}
    )


def unknown_kid(claims: dict[str, Any], header: dict[str, Any]) -> str:
    return jwt.encode(claims, "s" * 64, algorithm="HS256", headers={"kid": "other"})


@pytest.mark.parametrize("forge", [unsigned, foreign, unknown_kid])
def test_a_forged_token_opens_nothing(client: TestClient, headers: LogIn, forge: Forge) -> None:
    """The claims of a real token without its signature, or under another key, are worth nothing."""
    token = headers("admin")["authorization"].split()[1]
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = forge(claims, jwt.get_unverified_header(token))
    reply = client.post(DETECT, json=WINDOW, headers={"authorization": f"Bearer {forged}"})
    problem = assert_problem(reply, 401, "unauthenticated")
    assert problem["field"] == "authorization"
    assert forged not in reply.text


def test_an_expired_token_opens_nothing(client: TestClient, bench: Bench) -> None:
    """The real signature does not help once the time is over."""
    tokens = bench.services.settings.tokens.model_copy(update={"access_minutes": -1})
    issuer = TokenIssuer(bench.services.settings.model_copy(update={"tokens": tokens}))
    token = issuer.issue(Principal(1, 1, "admin", "admin")).access
    reply = client.get("/api/systems/", headers={"authorization": f"Bearer {token}"})
    assert "expired" in assert_problem(reply, 401, "unauthenticated")["detail"]


@pytest.mark.parametrize("value", ["Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "x", "Bearer \x01"])
def test_what_is_no_token_opens_nothing(client: TestClient, value: str) -> None:
    """Any other text in the header is a 401."""
    reply = client.get("/api/systems/", headers={"authorization": value})
    assert_problem(reply, 401, "unauthenticated")


@pytest.mark.parametrize(
    "body",
    [
        {"username": "operator"},
        {"username": "operator", "password": 12345678},
        {"username": "operator", "passwrd": "a secret mistyped"},
        {"username": "operator", "password": "a secret " * 500},
        {"username": "operator\x00", "password": "a secret"},
    ],
)
def test_a_refused_log_in_does_not_show_the_password(client: TestClient, body: dict[str, Any]) -> None:
    """Problems of log-in name the field and never a value."""
    reply = client.post("/api/auth/login/", json=body)
    assert_problem(reply, 422, "invalid-input")
    assert "secret" not in reply.text
    assert "12345678" not in reply.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": "   "}, "query"),
        ({"query": "x" * 2001}, "query"),
        ({"query": 3}, "query"),
        ({"query": "why", "max_results": 0}, "max_results"),
        ({"query": "why", "max_results": 11}, "max_results"),
        ({"query": "why", "max_results": "3"}, "max_results"),
        ({"query": "why", "temperature": 1}, "temperature"),
        ({}, "query"),
    ],
)
def test_a_bad_question_is_named(
    client: TestClient, headers: LogIn, bench: Bench, body: dict[str, Any], field: str
) -> None:
    """1 to 2000 characters, 1 to 10 results, nothing else."""
    problem = assert_problem(client.post("/api/rag/query/", json=body, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field
    assert bench.assistant.asked == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "family": "generic"}, "name"),
        ({"name": "x" * 201, "family": "generic"}, "name"),
        ({"name": "a\x00b", "family": "generic"}, "name"),
        ({"name": "x", "family": "generic", "tenant_id": 2}, "tenant_id"),
        ({"family": "generic"}, "name"),
    ],
)
def test_a_bad_system_is_named(client: TestClient, headers: LogIn, body: dict[str, Any], field: str) -> None:
    """The tenant comes from the credential alone; text the database cannot hold is refused at the door."""
    problem = assert_problem(client.post("/api/systems/", json=body, headers=headers("admin")), 422, "invalid-input")
    assert problem["field"] == field


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/systems/abc/", "system_id"),
        ("/api/systems/0/", "system_id"),
        ("/api/systems/99999999999999999999/", "system_id"),
        ("/api/systems/?limit=0", "limit"),
        ("/api/systems/?after=x", "after"),
        ("/api/jobs/no-uuid/", "job_id"),
        ("/api/families/%00/", "name"),
        ("/api/families/?after=%00", "after"),
        ("/api/systems/1/readings/?channel=%00", "channel[0]"),
        ("/api/systems/1/readings/?to=0", "to"),
        ("/api/systems/1/readings/?to=2026-03-01T06:00:00", "to"),
    ],
)
def test_a_bad_address_is_named(client: TestClient, headers: LogIn, path: str, field: str) -> None:
    """Parts of the path and the query are named like fields of a body."""
    problem = assert_problem(client.get(path, headers=headers()), 422, "invalid-input")
    assert problem["field"] == field


CHAT_ITEM = {"role": "user", "content": "why"}
TYPES: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/v1/chat/completions", {"model": "hdx-assistant", "messages": [CHAT_ITEM], "stream": "yes"}, "stream"),
    ("POST", "/v1/chat/completions", {"model": "hdx-assistant", "messages": [CHAT_ITEM], "stream": 1}, "stream"),
    (
        "POST",
        "/v1/chat/completions",
        {"model": "hdx-assistant", "messages": [CHAT_ITEM | {"content": 3}]},
        "messages[0].content",
    ),
    (
        "POST",
        "/v1/chat/completions",
        {"model": "hdx-assistant", "messages": [CHAT_ITEM | {"content": [{"type": 3}]}]},
        "messages[0].content[0].type",
    ),
    ("POST", "/api/models/hdx-generic-catboost/promote/", {"version": "2", "urgent": "no"}, "urgent"),
    ("POST", PREDICT, {"sensor_data": {"system_id": 1, "pressure": [1, 2, 3]}, "use_cache": "no"}, "use_cache"),
    ("PATCH", "/api/systems/1/", {"limits": {"pressure": {"low": "3"}}}, "limits.pressure.low"),
    ("PATCH", "/api/systems/1/", {"limits": {"pressure": 3}}, "limits.pressure"),
    ("POST", "/api/systems/1/baseline/", {"from": 1, "to": 2}, "from"),
    (
        "POST",
        "/api/families/",
        {"name": "saw", "title": "Saw", "channels": {"pressure": {"unit": "bar", "required": "yes"}}},
        "channels.pressure.required",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), TYPES)
def test_a_value_of_another_type_is_none(
    client: TestClient, headers: LogIn, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    """No word is a truth and no text a number; the problem names places of the body, and nothing of how it is read."""
    given = headers("admin") | {"x-internal-api-key": ML_KEY}
    reply = client.request(method, path, json=body, headers=given)
    problem = assert_problem(reply, 422, "invalid-input")
    assert field in {each["field"] for each in problem["errors"]}
    for word in ("function-", "list[", "storable", "ChatPart", "LimitBody", "instance of", "NoneType", "Body"):
        assert word not in reply.text


HALF: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/chat/completions", {"model": "hdx-assistant", "messages": [CHAT_ITEM | {"content": "\ud800"}]}),
    ("POST", "/api/rag/query/", {"query": "\ud800"}),
    ("PATCH", "/api/systems/1/", {"name": "\ud800"}),
    ("PATCH", "/api/systems/1/", {"description": "\ud800"}),
    ("POST", "/api/systems/", {"name": "Saw", "family": "generic", "units": {"\ud800": "bar"}}),
    ("POST", "/api/auth/login/", {"username": "\ud800", "password": "x"}),
    ("POST", "/api/models/hdx-generic-catboost/promote/", {"version": "2", "reason": "\ud800"}),
]


@pytest.mark.parametrize(("method", "path", "body"), HALF, ids=lambda given: given if isinstance(given, str) else "")
def test_half_a_character_is_no_text(
    client: TestClient, headers: LogIn, method: str, path: str, body: dict[str, Any]
) -> None:
    """A lone surrogate can be written in JSON, and stored nowhere."""
    content = json.dumps(body).encode()
    assert_problem(client.request(method, path, content=content, headers=headers("admin") | JSON), 422, "invalid-input")


def test_half_a_character_is_shown_as_a_question_mark(client: TestClient, headers: LogIn) -> None:
    """A lone surrogate is valid JSON and no text; the problem that names it is valid UTF-8."""
    content = b'{"system_id": 1, "sensor_data": {"\\ud800": [1, 2, 3]}}'
    reply = client.post(DETECT, content=content, headers={**headers(), **JSON})
    assert assert_problem(reply, 422, "invalid-input")["field"] == "sensor_data.?"


def test_the_password_of_these_tests_is_not_logged(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """Failed and successful log-ins leave their line, without the password."""
    headers()
    client.post("/api/auth/login/", json={"username": PASSWORD, "password": PASSWORD})
    text = (bench.services.settings.home / "logs" / "hdx.jsonl").read_text()
    assert "login.failed" in text
    assert PASSWORD not in text
