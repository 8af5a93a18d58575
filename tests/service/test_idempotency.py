"""Requests under an `Idempotency-Key` on real PostgreSQL: at once, over replicas, killed, expired, of other tenants."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from configs.settings import Retention
from pipelines.errors import KeyInUse
from serve_app.api.app import create_app
from serve_app.shared.credentials import digest
from serve_app.store import idempotency
from serve_app.store.database import Database
from serve_app.store.protocols import StoreParts
from serve_app.store.records_idempotency import HELD, HeldKey, KeptAnswer, KeyScope
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE
from tests.contract.stand_ins import make_bench

ROOT = Path(__file__).parents[2]
SYSTEMS, BODY = "/api/systems/", {"name": "Lift", "family": "generic"}
ANSWER = KeptAnswer(201, {"location": "/api/systems/7/"}, b"{}")


@dataclass
class Caller:
    """A tenant with an API key, and two replicas that serve it."""

    tenant_id: int
    headers: dict[str, str]
    replicas: tuple[httpx.AsyncClient, ...]
    store: Store

    async def send(self, key: str, replica: int = 0, body: dict[str, Any] = BODY) -> httpx.Response:
        """Add a system under a key."""
        headers = self.headers | {"idempotency-key": key}
        return await self.replicas[replica].post(SYSTEMS, json=body, headers=headers)

    async def made(self) -> int:
        """Return how many systems there are; each has its note."""
        systems = await self.store.systems.page(self.tenant_id)
        notes = [each for each in await self.store.audit.newest(self.tenant_id) if each.action == "system.added"]
        assert {each.subject for each in notes} == {f"system {each.system_id}" for each in systems}
        return len(systems)


async def make_caller(store: Store, replicas: tuple[httpx.AsyncClient, ...]) -> Caller:
    """Make a tenant with a key that may add systems."""
    name = uuid4().hex
    tenant_id = await store.tenants.ensure(name)
    await store.keys.add(tenant_id, "line 4", "engineer", digest(name))
    return Caller(tenant_id, {"x-api-key": name}, replicas, store)


@pytest.fixture
async def replicas(url: str, tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, ...]]:
    """Two applications over one database, each with connections of its own."""
    async with AsyncExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            opened = Store.open(url, 8)
            stack.push_async_callback(opened.close)
            (tmp_path / name).mkdir()
            app = create_app(replace(make_bench(tmp_path / name).services, store=opened))
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hdx")
            clients.append(await stack.enter_async_context(client))
        yield tuple(clients)


@pytest.fixture
async def caller(store: Store, replicas: tuple[httpx.AsyncClient, ...]) -> Caller:
    """One tenant."""
    return await make_caller(store, replicas)


async def test_twenty_at_once_make_one(caller: Caller) -> None:
    """Over two replicas: one is done, the others get its answer or come again, and then they get it, too."""
    replies = await asyncio.gather(*(caller.send("a", number % 2) for number in range(20)))
    counts = Counter(reply.status_code for reply in replies)
    assert set(counts) <= {201, 409}
    assert counts[201]
    assert {reply.headers["retry-after"] for reply in replies if reply.status_code == 409} <= {"1"}
    assert await caller.made() == 1
    assert {(await caller.send("a", number)).content for number in (0, 1)} == {
        reply.content for reply in replies if reply.status_code == 201
    }
    assert await caller.made() == 1


async def test_keys_at_once_do_not_wait_for_one_another(caller: Caller) -> None:
    """Twenty keys make twenty."""
    replies = await asyncio.gather(*(caller.send(f"k{number}", number % 2) for number in range(20)))
    assert {reply.status_code for reply in replies} == {201}
    assert await caller.made() == 20


async def test_another_request_under_a_key_is_refused(caller: Caller) -> None:
    """On either replica."""
    assert (await caller.send("a")).status_code == 201
    reply = await caller.send("a", 1, BODY | {"description": "hall 2"})
    assert (reply.status_code, reply.json()["type"]) == (422, "urn:hdx:problem:idempotency-key-reused")
    assert await caller.made() == 1


async def test_another_tenants_key_is_another_key(caller: Caller) -> None:
    """The same key of a caller of the same name, of another tenant, is done; each gets its own answer again."""
    other = await make_caller(caller.store, caller.replicas)
    firsts = [await each.send("a") for each in (caller, other)]
    again = [await each.send("a") for each in (caller, other)]
    assert [reply.content for reply in firsts] == [reply.content for reply in again]
    assert firsts[0].content != firsts[1].content
    assert (await caller.made(), await other.made()) == (1, 1)


def run_sql(url: str, tenant_id: int, statement: str) -> int:
    """Change rows of a tenant; return how many."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": f"-c role={APP_ROLE}"})
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('hdx.tenant', :id, true)"), {"id": str(tenant_id)})
        return connection.execute(text(statement)).rowcount


async def test_after_a_day_a_key_is_new(caller: Caller, url: str) -> None:
    """Then it stands for whatever is sent under it, whether the clearing has come by or not."""
    assert (await caller.send("a")).status_code == 201
    aged = "UPDATE idempotency_keys SET created_at = created_at - interval '{}'"
    run_sql(url, caller.tenant_id, aged.format("23 hours 59 minutes"))
    assert (await caller.send("a")).headers["idempotency-replayed"] == "true"
    run_sql(url, caller.tenant_id, aged.format("1 minute"))
    other = BODY | {"description": "hall 2"}
    assert [(await caller.send("a", 0, other)).status_code for _ in range(2)] == [201, 201]
    assert await caller.made() == 2


async def test_old_keys_go(caller: Caller, url: str) -> None:
    """The clearing deletes what is older than a day, of all tenants, and leaves the rest."""
    other = await make_caller(caller.store, caller.replicas)
    for each in (caller, other):
        await each.send("old")
        run_sql(url, each.tenant_id, "UPDATE idempotency_keys SET created_at = now() - interval '1 day 1 minute'")
        await each.send("young")
    assert (await caller.store.retention.clear(Retention()))["keys"] >= 2
    for each in (caller, other):
        assert run_sql(url, each.tenant_id, "SELECT * FROM idempotency_keys") == 1


KILLED = """
    import asyncio, os, signal, sys
    from dataclasses import replace
    from datetime import timedelta
    from pathlib import Path
    import httpx
    from serve_app.api.app import create_app
    from serve_app.store import audit, idempotency
    from serve_app.store.idempotency import IdempotencyKeys
    from serve_app.store.repository import Store
    from tests.contract.stand_ins import make_bench

    url, home, api_key, moment = sys.argv[1:]
    idempotency.LEASE = timedelta(seconds=1)

    async def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "before":
        audit.mark = die  # the change and its note are written, and not committed
    else:
        IdempotencyKeys.keep = die

    async def main() -> None:
        app = create_app(replace(make_bench(Path(home)).services, store=Store.open(url, 2)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hdx") as client:
            given = {"x-api-key": api_key, "idempotency-key": "a"}
            await client.post("/api/systems/", json={"name": "Lift", "family": "generic"}, headers=given)

    asyncio.run(main())
"""


@pytest.mark.parametrize(("moment", "left"), [("before", 0), ("after", 1)])
async def test_a_process_that_is_killed_does_nothing_twice(
    caller: Caller, url: str, tmp_path: Path, moment: str, left: int
) -> None:
    """Killed before its change is there, a request is done by the next; after, the next is told to look."""
    given = [url, str(tmp_path), caller.headers["x-api-key"], moment]
    words = [sys.executable, "-c", dedent(KILLED), *given]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(subprocess.run, words, env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    while True:  # until the server has noticed, and the lease is over
        reply = await caller.send("a", 1)
        if reply.status_code != 409 or "in-use" not in reply.text:
            break
        await asyncio.sleep(0.2)
    assert reply.status_code == (409 if left else 201)
    if left:
        assert reply.json()["type"] == "urn:hdx:problem:idempotency-answer-lost"
    assert await caller.made() == 1


# --- what the store promises, in PostgreSQL and in memory


async def scope_of(parts: StoreParts) -> KeyScope:
    """Return the scope of a key of a tenant of its own."""
    return KeyScope(await parts.tenants.ensure(uuid4().hex), "user 1, admin", SYSTEMS, "a")


def held_by(scope: KeyScope, trace_id: UUID, fingerprint: bytes | None = b"1") -> HeldKey:
    """Return a key as the request that holds it knows it."""
    return HeldKey(scope.tenant_id, trace_id, lambda: fingerprint)


async def test_a_key_is_held_by_one(parts: StoreParts) -> None:
    """Until it is answered others hear that it is; then they get the answer, and whoever is late changes none of it."""
    scope, one, two = await scope_of(parts), uuid4(), uuid4()
    assert await parts.idempotency.begin(scope, one, b"1") is None
    running = await parts.idempotency.begin(scope, two, b"2")
    assert running is not None
    assert running == ("running", one, b"1", None)
    await parts.idempotency.keep(held_by(scope, two), KeptAnswer(200, {}, b"mine"))
    await parts.idempotency.keep(held_by(scope, one), ANSWER)
    assert await parts.idempotency.begin(scope, two, b"2") == ("answered", one, b"1", ANSWER)
    for other in (scope._replace(account="user 2, admin"), scope._replace(route="/"), scope._replace(key="b")):
        assert await parts.idempotency.begin(other, uuid4(), b"1") is None


async def test_a_key_that_is_let_go_is_free_unless_something_changed(parts: StoreParts) -> None:
    """What was changed under it, the key remembers."""
    scope, one, two = await scope_of(parts), uuid4(), uuid4()
    assert await parts.idempotency.begin(scope, one, b"1") is None
    await parts.idempotency.release(held_by(scope, one))
    assert await parts.idempotency.begin(scope, two, None) is None
    token = HELD.set(held_by(scope, two, b"2"))
    await parts.audit.note(scope.tenant_id, "ann", "test", "x", "")
    HELD.reset(token)
    await parts.idempotency.release(held_by(scope, two))
    assert await parts.idempotency.begin(scope, uuid4(), b"2") == ("lost", two, b"2", None)


async def test_who_lost_its_key_changes_nothing(parts: StoreParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that outlives its lease finds that another one goes on, and its change does not come to be."""
    scope, slow, next_one = await scope_of(parts), uuid4(), uuid4()
    for module in ("serve_app.store.idempotency", "tests.contract.memory_keyring"):
        monkeypatch.setattr(f"{module}.LEASE", idempotency.LEASE * 0)
    assert await parts.idempotency.begin(scope, slow, b"1") is None
    assert await parts.idempotency.begin(scope, next_one, b"1") is None
    token = HELD.set(held_by(scope, slow))
    with pytest.raises(KeyInUse):
        await parts.audit.note(scope.tenant_id, "ann", "test", "x", "")
    HELD.reset(token)
    assert await parts.audit.newest(scope.tenant_id) == []


async def test_a_change_under_way_is_waited_for(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease over, a request that is about to commit keeps its key: whoever comes next hears that it was done."""
    monkeypatch.setattr(idempotency, "LEASE", idempotency.LEASE * 0)
    scope, one = await scope_of(store), uuid4()
    assert await store.idempotency.begin(scope, one, b"1") is None
    database = Database.open(url, 1)
    async with database.tenant(scope.tenant_id) as connection:
        await idempotency.mark(connection, held_by(scope, one))
        waiting = asyncio.ensure_future(store.idempotency.begin(scope, uuid4(), b"1"))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
    assert await waiting == ("lost", one, b"1", None)
    await database.close()
