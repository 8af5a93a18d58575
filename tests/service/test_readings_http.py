"""Readings over HTTP on real PostgreSQL: from a body to the day's table, and back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from serve_app.api.app import create_app
from serve_app.store.repository import Store
from tests.contract.stand_ins import make_bench
from tests.service.houses import House, make_house

Headers = dict[str, str]


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A client of the application over the real store."""
    services = replace(make_bench(tmp_path).services, store=Store.open(url, 4))
    with TestClient(create_app(services)) as client:
        yield client


async def made(store: Store) -> tuple[House, str, Headers]:
    """Make a tenant; return it with the path of its readings and what its key is sent in."""
    house = await make_house(store)
    return house, f"/api/systems/{house.system.system_id}/readings/", {"x-api-key": house.username}


async def test_a_body_becomes_rows(client: TestClient, store: Store) -> None:
    """Over midnight and in all formats the same values are kept once, and the tenant alone reads them."""
    _, path, key = await made(store)
    start = datetime(2026, 6, 6, 23, 59, 30, tzinfo=UTC)
    times = [start + timedelta(seconds=n) for n in range(60)]
    rows = [{"at": at.isoformat(), "pressure": 100.0 + n, "flow": 9999} for n, at in enumerate(times)]
    reply = client.post(path, json={"readings": rows}, headers=key)
    assert reply.status_code == 200, reply.text
    assert (reply.json()["written"], reply.json()["quarantined"]) == (60, 60)
    text = pd.DataFrame({"time": times, "pressure [bar]": [100.0 + n for n in range(60)]}).to_csv(index=False)
    again = client.post(path, content=text, headers=key | {"content-type": "text/csv"})
    assert again.json()["unchanged"] == 60
    span = {"from": start.isoformat(), "to": (start + timedelta(minutes=1)).isoformat()}
    (found,) = client.get(path, params=span, headers=key).json()["channels"]
    assert found["values"] == [100.0 + n for n in range(60)]
    (thin,) = client.get(path, params=span | {"points": 4}, headers=key).json()["channels"]
    assert (thin["downsampled"], thin["count"], max(thin["values"])) == (True, 60, 159.0)
    aside = client.get(f"{path}quarantine/", params={"limit": 1000}, headers=key).json()["quarantine"]
    assert len(aside) == 61  # with the one that every tenant of these tests has
    _, _, other = await made(store)
    assert client.get(path, headers=other).status_code == 404
    assert client.post(path, json={"readings": rows}, headers=other).status_code == 404


async def test_any_text_is_kept(client: TestClient, store: Store) -> None:
    """Letters of any script and halves of characters are set aside, and break nothing."""
    _, path, key = await made(store)
    body = '{"readings": [{"at": "2026-03-01T06:00:00Z", "давление": 1, "pressure": "\\ud800 \\u0000 нет"}]}'
    reply = client.post(path, content=body.encode(), headers=key | {"content-type": "application/json"})
    assert reply.status_code == 200, reply.text
    aside = client.get(f"{path}quarantine/", headers=key).json()["quarantine"]
    assert [(each["channel"], each["value"]) for each in aside[1:]] == [("давление", "1"), ("pressure", "? ? нет")]
