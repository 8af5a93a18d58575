"""HTTP as RFC 9110 has it, on every path of the contract."""

import gzip
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serve_app.api.middleware.request import FILES, READINGS, WRITES
from tests.contract.calls import CHAT, DETECT, STREAM, WINDOW, LogIn, assert_problem
from tests.contract.snapshot import contract
from tests.contract.stand_ins import ML_KEY, Bench

PATHS: dict[str, set[str]] = {path: {method.upper() for method in item} for path, item in contract()["paths"].items()}
FILLED = {"trace_id": "00000000-0000-4000-8000-000000000000", "job_id": "00000000-0000-4000-8000-000000000000"}
JSON = {"content-type": "application/json"}
PATH, PROPOSAL = "/api/systems/", "/api/families/proposal/"
UNREADABLE = {"utf-16": "utf-16", "utf-16 without its mark": "utf-16-le", "utf-32": "utf-32"}
BODIES: list[tuple[str, Any]] = [
    (PATH, {"name": "Press 2", "family": "generic"}),
    ("/v1/chat/completions", CHAT),
    ("/api/systems/1/readings/", {"readings": [{"at": "2026-03-01T00:00:00Z", "pressure": 101.2}]}),
    (DETECT, WINDOW),
]


def filled(path: str) -> str:
    """A path with something in place of its parameters."""
    parts = path.split("/")
    return "/".join(FILLED.get(part.strip("{}"), "1") if part.startswith("{") else part for part in parts)


def test_every_path_says_which_methods_it_takes(client: TestClient) -> None:
    """To OPTIONS, from anybody, and with the problem of any other method: all of them, and no more than there are."""
    for path, methods in PATHS.items():
        allow = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        if path == PROPOSAL:
            allow |= {"GET", "HEAD", "PUT", "DELETE"}  # a family may be called so
        reply = client.options(filled(path))
        assert (reply.status_code, reply.content) == (204, b""), path
        assert set(reply.headers["allow"].split(", ")) == allow, path
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
            if method not in allow:
                reply = client.request(method, filled(path))
                assert_problem(reply, 405, "method-not-allowed")
                assert set(reply.headers["allow"].split(", ")) == allow, path


def test_head_is_get_without_content(client: TestClient, headers: LogIn) -> None:
    """The same status and the same headers, of answers and of refusals."""
    given = headers("admin") | {"x-internal-api-key": ML_KEY}
    for path in [*(filled(path) for path, methods in PATHS.items() if "GET" in methods), "/openapi.json", "/docs"]:
        whole, head = client.get(path, headers=given), client.head(path, headers=given)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert head.headers.keys() == whole.headers.keys(), path
        assert head.headers.get("content-type") == whole.headers.get("content-type"), path
    refused = client.head(DETECT)
    assert (refused.status_code, refused.content, refused.headers["allow"]) == (405, b"", "POST, OPTIONS")


def test_the_head_of_a_stream_has_an_end(client: TestClient, headers: LogIn, bench: Bench) -> None:
    """What goes on as long as somebody listens does not, and nobody is counted as listening."""
    reply = client.head("/api/systems/1/events/", headers=headers() | STREAM)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert client.app.state.listeners.total() == 0  # type: ignore[attr-defined]


def test_no_path_takes_no_method(client: TestClient) -> None:
    """Where there is nothing, OPTIONS finds nothing either."""
    assert_problem(client.options("/api/nowhere/"), 404, "not-found")


@pytest.mark.parametrize("packing", ["br", "gzip, gzip", "deflate", "gzip"])
def test_a_packing_that_is_not_unpacked_is_refused(client: TestClient, packing: str) -> None:
    """415 with `Accept-Encoding`, before anything is read of the body; gzip is taken where files are."""
    given = JSON | {"content-encoding": packing}
    for path, methods in PATHS.items():
        files = READINGS.fullmatch(filled(path)) or FILES.fullmatch(filled(path))
        for method in methods & WRITES:
            reply = client.request(method, filled(path), content=gzip.compress(b"{}"), headers=given)
            if files and packing == "gzip":
                assert "accept-encoding" not in reply.headers, path
                continue
            problem = assert_problem(reply, 415, "unsupported-content")
            assert (problem["field"], problem["value"]) == ("content-encoding", packing)
            assert reply.headers["accept-encoding"] == ("gzip, identity" if files else "identity"), path


@pytest.mark.parametrize("encoding", UNREADABLE)
@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda given: given if isinstance(given, str) else "")
def test_json_is_utf8(client: TestClient, headers: LogIn, path: str, body: object, encoding: str) -> None:
    """No other encoding is guessed (RFC 8259); the mark that some editors put before UTF-8 is passed over."""
    given = headers("admin") | JSON
    reply = client.post(path, content=json.dumps(body).encode(UNREADABLE[encoding]), headers=given)
    assert assert_problem(reply, 400, "malformed-body")["rule"] == "must be JSON in UTF-8"
    assert client.post(path, content=json.dumps(body).encode("utf-8-sig"), headers=given).is_success


def test_half_a_character_written_out_is_no_utf8(client: TestClient, headers: LogIn) -> None:
    """Python's own reader would take these three bytes."""
    body = b'{"name": "\xed\xa0\x80", "family": "generic"}'
    assert_problem(client.post(PATH, content=body, headers=headers("admin") | JSON), 400, "malformed-body")


@pytest.mark.parametrize("number", [3.0, 3])
def test_a_number_without_a_fraction_is_an_integer(client: TestClient, headers: LogIn, number: float) -> None:
    """JSON knows one kind of number: some clients write 3.0 for 3."""
    body = {"query": "why", "max_results": number, "system_id": number / 3}
    assert client.post("/api/rag/query/", json=body, headers=headers()).status_code == 200
    assert client.post(DETECT, json=WINDOW | {"system_id": number / 3}, headers=headers()).status_code == 200
