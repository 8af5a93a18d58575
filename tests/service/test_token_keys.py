"""Rotations in a real PostgreSQL: what replicas see, what two at once do, what the table tells, and the commands."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from typer.testing import CliRunner

from pipelines.errors import Conflict
from serve_app.api.auth import WITHDRAWN_S, Authenticator
from serve_app.cli.commands import app
from serve_app.shared.credentials import hash_password
from serve_app.shared.token_keys import APART, HELD
from serve_app.store.migrate import migrate
from serve_app.store.protocols import StoreParts
from serve_app.store.repository import Store
from tests.contract.memory_store import MemoryStore
from tests.contract.stand_ins import PASSWORD, make_bench


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Store]:
    """A store over a database of its own, as all tokens of another one would follow its rotations."""
    migrate(database_url)
    opened = Store.open(database_url, 8)
    yield opened
    await opened.close()


def grow_older(url: str, by: timedelta) -> None:
    """Let all generations have begun so much earlier."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT set_config('hdx.platform', 'on', true)"))
        connection.execute(text("UPDATE token_keys SET begun_at = begun_at - CAST(:by AS interval)"), {"by": by})


def kid_of(token: str) -> str:
    """Return which key a token names."""
    return str(jwt.get_unverified_header(token)["kid"])


async def test_replicas_see_a_rotation(alone: Store, database_url: str, tmp_path: Path) -> None:
    """Within seconds, without a restart; tokens of before hold in all, as do those of a key not seen yet."""
    grow_older(database_url, APART)
    tenant_id = await alone.tenants.ensure("demo")
    await alone.accounts.add(tenant_id, "ann", "ann@example.com", hash_password(PASSWORD), "viewer")
    services = replace(make_bench(tmp_path).services, store=alone)
    one, other, slow = (Authenticator(services) for _ in range(3))
    await slow._look()
    before, device = await one.log_in("ann", PASSWORD, "10.0.0.1")
    async with AsyncExitStack() as running:
        for replica in (one, other):
            await running.enter_async_context(replica.watching())
        (_, next_kid), first_kid = [key["kid"] for key in await other.public_keys()], kid_of(before["access"])
        await alone.token_keys.rotate(APART, "ann")
        ends = time.monotonic() + 10 * WITHDRAWN_S  # far more than it takes, on a busy machine
        left = True
        while left and time.monotonic() < ends:
            left = [key["kid"] for key in await other.public_keys()] != [next_kid, first_kid]
            await asyncio.sleep(0.05)
        assert [key["kid"] for key in await other.public_keys()] == [next_kid, first_kid]
        after = await one.refresh(before["refresh"])
        assert kid_of(after["access"]) == next_kid
        for replica in (one, other, slow):
            assert {replica.by_token(each["access"]).name for each in (before, after)} == {"ann"}
            assert replica.is_device(device)
        again = await other.refresh(after["refresh"])
        assert again["access"] != after["access"]


async def test_of_rotations_at_once_one_is(alone: Store, database_url: str) -> None:
    """The others are refused, and the audit has one note, which is the platform's."""
    grow_older(database_url, APART)
    outcomes = await asyncio.gather(*[alone.token_keys.rotate(APART, "ann") for _ in range(6)], return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict"] * 5 + ["KeyGeneration"]
    assert [each.number for each in await alone.token_keys.held(HELD)] == [1, 2]
    (note,) = await alone.audit.newest(None)
    assert (note.actor, note.action, note.subject) == ("ann", "token_keys.rotated", "generation 2")


@pytest.mark.parametrize("kind", ["memory", "postgres"])
async def test_generations_are_held_while_they_may_be_needed(kind: str, alone: Store, database_url: str) -> None:
    """Those that began of late and the one before them, in their order; a rotation too soon says from when on."""
    store: StoreParts = MemoryStore() if kind == "memory" else alone
    for _ in range(3):
        await store.token_keys.rotate(timedelta(0))
    assert [each.number for each in await store.token_keys.held(HELD)] == [1, 2, 3, 4]
    assert [each.number for each in await store.token_keys.held(timedelta(0))] == [4]
    with pytest.raises(Conflict, match="the next one can begin from"):
        await store.token_keys.rotate(APART)
    if kind == "postgres":
        grow_older(database_url, HELD + APART)
        assert [each.number for each in await store.token_keys.held(HELD)] == [4]
        await store.token_keys.rotate(APART)
        assert [each.number for each in await store.token_keys.held(HELD)] == [4, 5]


async def test_commands_rotate_and_list(
    alone: Store, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hdx keys rotate` says which key signs, `hdx keys list` shows both; `hdx keys` needs no database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDX_DATABASE__URL", database_url)
    monkeypatch.setenv("HDX_SECRET_KEY", "k" * 64)

    async def hdx(*words: str) -> str:
        ended = await asyncio.to_thread(CliRunner().invoke, app, words, env={"COLUMNS": "200"})
        if ended.exception is not None:
            raise ended.exception
        return ended.output

    with pytest.raises(Conflict, match="generation"):
        await hdx("keys", "rotate")
    grow_older(database_url, APART)
    assert "Generation 2 signs" in await hdx("keys", "rotate")
    first, second = [line.split() for line in (await hdx("keys", "list")).splitlines()[1:]]
    assert first[:2] == ["1", "bARASIuoHfsRL-2dLGGlngGczm78CM71chWH1EleR98"]
    assert (second[0], second[-2:]) == ("2", ["signs", "signs"])
    monkeypatch.setenv("HDX_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert (await hdx("keys")).startswith("HDX_SECRET_KEY=")
