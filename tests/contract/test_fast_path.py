"""The short way through the four routes that judge answers as the long one does."""

from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.middleware.fast_path import FastPath
from serve_app.shared.credentials import KEY_PREFIX, digest
from serve_app.store.records import Principal, Role
from tests.contract.calls import DETECT, INTERNAL, PREDICT, WINDOW, LogIn
from tests.contract.stand_ins import API_KEY, Bench

# The fast path takes the plain content type alone; this one means the same and goes through FastAPI.
LONG = {"content-type": "application/json; charset=utf-8"}
SHORT = {"content-type": "application/json"}
# A system has one window more after each.
VARYING = {"trace_id", "total_processing_time_ms", "cache_hit", "windows"}
PUBLIC, BATCH = (DETECT, "public"), ("/api/diagnostics/anomaly/detect/batch/", "public")
INNER, INNER_BATCH = (PREDICT, "internal"), (f"{PREDICT}/batch", "internal")
DATA = {"system_id": 1, "pressure": [100.5, 101.2, 99.8]}

CALLS: list[tuple[tuple[str, str], bytes]] = [
    (PUBLIC, b'{"system_id": 1, "sensor_data": {"pressure": [100, 101, 102.5]}}'),
    (PUBLIC, b'{"system_id": 2, "sensor_data": {"pressure": [100, 101, 102.5]}}'),
    (PUBLIC, b'{"system_id": 1, "sensor_data": {"pressure": [100, NaN, 102.5]}}'),
    (PUBLIC, b'{"system_id": 1, "sensor_data": {"pressure": [100, true, 102.5]}}'),
    (PUBLIC, b'{"system_id": 1, "sensor_data": {"pressure": [100, 1e400, 102.5]}}'),
    (PUBLIC, b'{"system_id": "1", "sensor_data": {}, "more": 1}'),
    (PUBLIC, b"{"),
    (PUBLIC, b"[]"),
    (PUBLIC, b"\xff"),
    (PUBLIC, b""),
    (BATCH, b'{"items": [{"system_id": 1, "sensor_data": {"flow": [1, 2, 3]}}, {"system_id": 9}, 7]}'),
    (BATCH, b'{"items": []}'),
    (BATCH, b'{"items": [1, 2, 3, 4, 5]}'),
    (INNER, b'{"sensor_data": {"system_id": 1, "flow": [1, 2, 3]}, "use_cache": false}'),
    (INNER, b'{"sensor_data": {"system_id": 1, "family": "no", "flow": [1, 2, 3]}}'),
    (INNER, b'{"sensor_data": {"system_id": 1, "noise": [1, 2, 3]}, "use_cache": 1}'),
    (INNER_BATCH, b'{"items": [{"sensor_data": {"system_id": 1, "flow": [1, 2]}}, {}]}'),
]


def plain(value: Any) -> Any:
    """Return an answer without what differs from call to call."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if name not in VARYING}
    return [plain(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("route", "body"), CALLS)
def test_both_ways_answer_alike(client: TestClient, headers: LogIn, route: tuple[str, str], body: bytes) -> None:
    """Status, headers and body are the same, right or wrong."""
    path, face = route
    credentials = headers() if face == "public" else INTERNAL
    short, long = (client.post(path, content=body, headers={**credentials, **kind}) for kind in (SHORT, LONG))
    assert short.status_code == long.status_code
    assert plain(short.json()) == plain(long.json())
    assert set(short.headers) == set(long.headers)
    assert short.headers["content-type"] == long.headers["content-type"]


@pytest.fixture
def keys(bench: Bench) -> dict[str, dict[str, str]]:
    """By role the header of an API key of tenant 1."""
    for role in get_args(Role):
        bench.store.principals[digest(f"{KEY_PREFIX}{role}")] = Principal(1, None, f"line of {role}", role)
    return {role: {"x-api-key": f"{KEY_PREFIX}{role}"} for role in get_args(Role)}


@pytest.fixture
def skips_fastapi(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were answered without FastAPI."""
    seen: list[str] = []
    answered = FastPath._answered

    async def noted(self: FastPath, take: Any, request: Request, body: bytes) -> Response | None:
        response = await answered(self, take, request, body)
        if response is not None:
            seen.append(request.url.path)
        return response

    monkeypatch.setattr(FastPath, "_answered", noted)
    return seen


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("place", ["x-api-key", "bearer"])
def test_api_keys_are_served_alike(client: TestClient, keys: dict[str, dict[str, str]], role: str, place: str) -> None:
    """An API key of any role, in its own header or as OpenAI's clients send it, gets the same answer on both ways."""
    credentials = keys[role] if place == "x-api-key" else {"authorization": f"Bearer {keys[role]['x-api-key']}"}
    for (path, face), body in CALLS:
        if face == "internal":
            continue
        short, long = (client.post(path, content=body, headers={**credentials, **kind}) for kind in (SHORT, LONG))
        assert short.status_code == long.status_code
        assert plain(short.json()) == plain(long.json())
        assert (short.status_code == 403) == (role == "viewer" and short.status_code != 400)


def test_tokens_and_keys_take_the_short_way(
    client: TestClient, headers: LogIn, keys: dict[str, dict[str, str]], skips_fastapi: list[str]
) -> None:
    """Either credential of a role that may judge is answered without FastAPI; a reader's is left to it."""
    for credentials in (headers(), keys["operator"], {**headers(), **keys["viewer"]}):
        assert client.post(DETECT, json=WINDOW, headers=credentials).status_code == 200
    assert skips_fastapi == [DETECT] * 3
    for credentials in (headers("viewer"), keys["viewer"]):
        assert client.post(DETECT, json=WINDOW, headers=credentials).status_code == 403
    assert skips_fastapi == [DETECT] * 3


@pytest.mark.parametrize("form", ["Bearer {}", "Bearer  {}", "bearer {}", " Bearer {}", "Bearer {} x", "Bearer{}"])
def test_a_token_is_read_alike(client: TestClient, headers: LogIn, form: str) -> None:
    """However the header is spaced and spelled, both ways take the token or refuse it in the same words."""
    token = headers()["authorization"].partition(" ")[2]
    given = {"authorization": form.format(token)}
    short, long = (client.post(DETECT, json=WINDOW, headers={**given, **kind}) for kind in (SHORT, LONG))
    assert short.status_code == long.status_code
    assert plain(short.json()) == plain(long.json())


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"authorization": "Bearer x"},
        {"authorization": f"Bearer {KEY_PREFIX}x"},
        {"authorization": "Basic x"},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"x-api-key": "x"},
        {"x-api-key": ""},
        {"authorization": "Bearer x", "x-api-key": API_KEY},
    ],
)
@pytest.mark.parametrize("body", [b"{}", b"{", b'{"system_id": 1, "sensor_data": {"flow": [1, 2, 3]}}'])
def test_a_wrong_credential_is_refused_alike(client: TestClient, credentials: dict[str, str], body: bytes) -> None:
    """Without a credential that holds both ways refuse in the same words, whatever the body is."""
    short, long = (client.post(DETECT, content=body, headers={**credentials, **kind}) for kind in (SHORT, LONG))
    assert short.status_code == long.status_code == (400 if body == b"{" else 401)
    assert plain(short.json()) == plain(long.json())
    assert set(short.headers) == set(long.headers)


def test_a_reader_may_not_judge(client: TestClient, headers: LogIn) -> None:
    """A role without the right is refused on the short way too."""
    assert client.post(DETECT, json=WINDOW, headers={**headers("viewer"), **SHORT}).status_code == 403


def test_the_internal_key_is_needed(client: TestClient) -> None:
    """The internal face asks for its key on the short way too."""
    for given in ({}, {"x-internal-api-key": "wrong"}):
        assert client.post(PREDICT, json={"sensor_data": DATA}, headers={**given, **SHORT}).status_code == 403


def test_both_ways_store_the_same(client: TestClient, bench: Bench, headers: LogIn) -> None:
    """What is stored of a window does not depend on the way."""
    for kind in (SHORT, LONG):
        client.post(DETECT, json=WINDOW, headers={**headers(), **kind})
    (_, first, _), (_, second, _) = bench.store.recorded
    assert plain(first.read_answer()) == plain(second.read_answer())
    assert (first.window, first.family, first.system_id) == (second.window, second.family, second.system_id)
