"""The short way through the four routes that judge answers as the long one does."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.contract.calls import DETECT, INTERNAL, PREDICT, WINDOW, LogIn
from tests.contract.stand_ins import Bench

# The lane takes the plain content type alone; this one means the same and goes through FastAPI.
LONG = {"content-type": "application/json; charset=utf-8"}
SHORT = {"content-type": "application/json"}
VARYING = {"trace_id", "total_processing_time_ms", "cache_hit"}
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


@pytest.mark.parametrize(
    "credentials", [{}, {"authorization": "Bearer x"}, {"authorization": "Basic x"}, {"x-api-key": "x"}]
)
def test_a_wrong_credential_is_refused_alike(client: TestClient, credentials: dict[str, str]) -> None:
    """Without a credential that holds both ways refuse in the same words."""
    short, long = (client.post(DETECT, json=WINDOW, headers={**credentials, **kind}) for kind in (SHORT, LONG))
    assert short.status_code == long.status_code == 401
    assert plain(short.json()) == plain(long.json())


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
