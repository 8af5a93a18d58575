"""Rules of what happened to a system, over REST: in its order, by pages or as it happens, for its tenant alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from starlette.types import Message

from serve_app.api import events
from serve_app.api.auth import Authenticator
from serve_app.api.schemas.systems import EventsReply
from serve_app.shared.credentials import digest
from serve_app.store.records import Principal
from serve_app.store.records_watching import Happened
from tests.contract.calls import LogIn, assert_problem
from tests.contract.stand_ins import Bench

SYSTEM, EVENTS = "/api/systems/1/", "/api/systems/1/events/"


def change(client: TestClient, headers: LogIn, state: str) -> None:
    assert client.patch(SYSTEM, json={"state": state}, headers=headers("engineer")).status_code == 200


def test_what_happened_is_told_in_its_order(client: TestClient, headers: LogIn) -> None:
    """A change of state is an event with its own time; what changes nothing is none; pages follow each other."""
    for state in ("maintenance", "maintenance", "commissioning", "maintenance"):
        change(client, headers, state)
    reply = client.get(EVENTS, params={"limit": 2}, headers=headers("viewer")).json()
    EventsReply.model_validate(reply)
    assert [each["text"] for each in reply["events"]] == [
        "maintenance, after commissioning",
        "commissioning, after maintenance",
    ]
    rest = client.get(EVENTS, params={"after": reply["next"]}, headers=headers("viewer")).json()
    assert ([each["kind"] for each in rest["events"]], rest["next"]) == (["state.changed"], None)
    assert rest["events"][0]["event_id"] > reply["events"][-1]["event_id"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_system_of_nobody_has_no_events(client: TestClient, headers: LogIn, accept: str) -> None:
    """Neither one that is not there, nor another tenant's, nor any for who has no token."""
    told = {"accept": accept}
    for path, who in (("/api/systems/999/events/", "viewer"), (EVENTS, "stranger")):
        assert_problem(client.get(path, headers=headers(who) | told), 404, "not-found")
    assert client.get(EVENTS, headers=told).status_code == 401


@pytest.mark.parametrize("limit", ["LISTENERS_MAX", "LISTENERS_OF_TENANT"])
def test_listeners_are_bounded(client: TestClient, headers: LogIn, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """One more than a replica serves, of all tenants or of one, is told to come later."""
    monkeypatch.setattr(events, limit, 0)
    refused = client.get(EVENTS, headers=headers("viewer") | {"accept": "text/event-stream"})
    assert_problem(refused, 429, "overloaded")
    assert client.get(EVENTS, headers=headers("viewer")).status_code == 200


async def test_a_stream_goes_on_from_the_last_event(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells what comes after, says at times that nothing did, and ends with its system."""
    monkeypatch.setattr(events, "LOOK_S", 0.001)
    tenant_id, system = next(iter(bench.store.owned.values()))
    number = system.system_id
    for text in ("first", "second"):
        await bench.store.events.add(tenant_id, [Happened(number, None, "window.unread", text)])
    stream = events._stream(bench.services, holding, tenant_id, number, 1, EVENTS)
    async with asyncio.timeout(20):
        assert _sent(await anext(stream)) == ("window.unread", "2", "second")
        assert (await anext(stream)).startswith(b": nothing")
        await bench.store.events.add(tenant_id, [Happened(number, None, "alarm.raised", "third")])
        assert _sent(await anext(stream)) == ("alarm.raised", "3", "third")
        await bench.store.systems.delete(tenant_id, number)
        assert b"event: error" in await anext(stream)
        assert [left async for left in stream] == []


@pytest.mark.parametrize("is_key", [False, True])
async def test_a_stream_ends_with_its_credential(bench: Bench, monkeypatch: pytest.MonkeyPatch, is_key: bool) -> None:
    """Whoever is disabled, or has a key that is revoked, hears nothing more on a line that was open before."""
    monkeypatch.setattr(events, "LOOK_S", 0.001)
    await bench.store.keys.add(1, "line 5", "viewer", digest("hdx_line_5"))
    authenticator = Authenticator(bench.services)
    token = authenticator.issuer.issue(Principal(1, 3, "operator", "operator")).access
    headers = Headers({"x-api-key": "hdx_line_5"} if is_key else {"authorization": f"Bearer {token}"})
    caller = await authenticator.by_headers(headers)
    stream = events._stream(bench.services, partial(authenticator.check_again, caller, headers), 1, 1, 0, EVENTS)
    async with asyncio.timeout(20):
        assert (await anext(stream)).startswith(b": nothing")
        if is_key:
            await bench.store.keys.revoke(1, 1)
        else:
            await bench.store.accounts.set_active(bench.store.people[3], False)
            await authenticator._look()
        await bench.store.events.add(1, [Happened(1, None, "alarm.raised", "unheard")])
        (last,) = [sent async for sent in stream]
    assert b"event: error" in last
    assert b"unauthenticated" in last
    assert b"unheard" not in last


async def holding() -> None:
    """Stand for a credential that nobody withdraws."""


async def test_a_listener_counts_before_its_stream_begins() -> None:
    """So that many who come at once are not more than are allowed; however one ends, it counts no more."""
    listeners = Counter[int]()

    async def broken() -> AsyncGenerator[bytes]:
        yield b": hello"
        raise OSError

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert listeners == {7: 1}

    listened = events._Listened(broken(), listeners, 7)
    assert listeners == {7: 1}
    with suppress(OSError, ExceptionGroup):
        await listened({"type": "http", "asgi": {"spec_version": "2.3"}}, gone, send)
    assert listeners.total() == 0


def _sent(event: bytes) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in event.decode().strip().splitlines())
    return fields["event"], fields["id"], orjson.loads(fields["data"])["text"]
