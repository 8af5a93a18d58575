"""Rules of the store, each held by the embedded server and by one given by its address."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from pipelines.errors import Conflict, NotFound, Unauthenticated, Unavailable
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import Learned, Normal
from serve_app.store.life import evidence_of
from serve_app.store.migrate import current, downgrade, migrate
from serve_app.store.records import Kept, StoredDiagnosis, System
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE

ONES = np.ones(3)
SUMS = Learned(0, Baseline(ONES, 2 * ONES, 4 * ONES))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store over fresh tables."""
    migrate(database_url)
    opened = Store.open(database_url, 8)
    yield opened
    await opened.close()


def diagnosis(system_id: int) -> StoredDiagnosis:
    """Return a diagnosis as the gateway stores it."""
    window = {"values": {"pressure": [1.5]}, "rate_hz": 1.0}
    return StoredDiagnosis(uuid4(), system_id, "generic", datetime.now(UTC), window, b'{"ensemble_score": 0.1}')


async def two_tenants(store: Store) -> tuple[int, int]:
    """Return the ids of two tenants."""
    return await store.tenants.ensure("a"), await store.tenants.ensure("b")


async def test_a_tenant_sees_its_own_rows_alone(store: Store) -> None:
    """A system, its baseline and its diagnoses do not exist for another tenant, whatever is asked."""
    a, b = await two_tenants(store)
    assert await store.tenants.ensure("a") == a
    system = await store.systems.add(a, "press", "generic", "")
    stored = diagnosis(system.system_id)
    await store.diagnoses.record(a, stored, SUMS)
    assert [found.system_id for found in await store.systems.page(a)] == [system.system_id]
    assert await store.systems.page(b) == []
    assert (await store.diagnoses.get(a, stored.trace_id)).answer == stored.answer
    for attempt in (
        store.systems.get(b, system.system_id),
        store.systems.machine(b, system.system_id),
        store.systems.change(b, system.system_id, name="mine"),
        store.systems.delete(b, system.system_id),
        store.diagnoses.get(b, stored.trace_id),
        store.diagnoses.record(b, diagnosis(system.system_id), SUMS),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await store.systems.get(a, system.system_id)).name == "press"
    await store.audit.note(a, "admin", "system.added", "system 1", "")
    assert len(await store.audit.newest(a)) == 2
    assert await store.audit.newest(b) == []


async def test_row_level_security_holds_without_the_repository(store: Store, database_url: str) -> None:
    """The application's role sees nothing without a tenant, and with one can neither see nor add another's rows."""
    a, b = await two_tenants(store)
    await store.systems.add(a, "press", "generic", "")
    options = {"options": f"-c role={APP_ROLE}"}
    with create_engine(database_url, poolclass=NullPool, connect_args=options).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM systems")).scalar() == 0
        connection.execute(text("SELECT set_config('hdx.tenant', :b, false)"), {"b": str(b)})
        assert connection.execute(text("SELECT count(*) FROM systems")).scalar() == 0
        with pytest.raises(ProgrammingError, match="row-level security"):
            add = "INSERT INTO systems (tenant_id, name, family, description) VALUES (:a, 'x', 'generic', '')"
            connection.execute(text(add), {"a": a})
        connection.rollback()
        with pytest.raises(ProgrammingError, match="must be owner"):
            connection.execute(text("ALTER TABLE systems DISABLE ROW LEVEL SECURITY"))


async def commissioned(store: Store, tenant_id: int) -> System:
    """Return a system of whose three features nothing was learned yet."""
    system = await store.systems.add(tenant_id, "press", "generic", "")
    nothing = Normal.of(Baseline(0 * ONES, 0 * ONES, 0 * ONES))
    assert await store.systems.commission(tenant_id, system.system_id, nothing, 20)
    return await store.systems.get(tenant_id, system.system_id)


async def learned_of(store: Store, tenant_id: int, system: System) -> Baseline:
    """Return what a system's windows have taught."""
    _, normal = await store.systems.machine(tenant_id, system.system_id)
    assert normal is not None
    return normal.points[0].baseline


async def test_concurrent_merges_lose_nothing(store: Store) -> None:
    """Fifty windows learned at once are fifty windows in the normal; one of other features teaches nothing."""
    a, _ = await two_tenants(store)
    system = await commissioned(store, a)
    await asyncio.gather(*(store.diagnoses.record(a, diagnosis(system.system_id), SUMS) for _ in range(50)))
    longer = Learned(0, Baseline(np.ones(4), np.ones(4), np.ones(4)))
    await store.diagnoses.record(a, diagnosis(system.system_id), longer)
    found = await learned_of(store, a, system)
    assert [x.tolist() for x in (found.count, found.total, found.squares)] == [[50] * 3, [100] * 3, [200] * 3]


async def test_stores_that_learn_at_once_lose_nothing(store: Store, database_url: str) -> None:
    """Two replicas that record windows of one system together keep all that they teach, and every window counts."""
    a, _ = await two_tenants(store)
    system, fresh = await commissioned(store, a), await store.systems.add(a, "lift", "generic", "")
    other = Store.open(database_url, 8)
    records = [
        one.diagnoses.record(a, diagnosis(number), SUMS, level=2)
        for _ in range(20)
        for one in (store, other)
        for number in (system.system_id, fresh.system_id)
    ]
    kept = await asyncio.gather(*records)
    await other.close()
    assert (await learned_of(store, a, system)).count.tolist() == [40] * 3
    counts = [each.system.learned for each in kept if each.system.system_id == fresh.system_id]
    assert sorted(counts) == list(range(1, 41))
    assert evidence_of(await store.systems.get(a, system.system_id)).raised
    assert not evidence_of(await store.systems.get(a, fresh.system_id)).height


async def test_the_database_learns_as_memory_does(store: Store) -> None:
    """Sums, fading and first level are the same in PostgreSQL as in `Baseline.__add__`, far beyond the memory too."""
    a, _ = await two_tenants(store)
    system = await commissioned(store, a)
    random = np.random.default_rng(5)
    kept = Baseline(0 * ONES, 0 * ONES, 0 * ONES)
    for lump in range(60):
        rows = random.normal(10 + lump / 10, 1, (12, 3))
        rows[:, 2] = np.nan if lump < 30 else rows[:, 2]
        pieces = [learn(row) for row in rows]
        learned = sum(pieces[1:], pieces[0])
        kept = kept + learned
        await store.diagnoses.record(a, diagnosis(system.system_id), Learned(0, learned))
    found = await learned_of(store, a, system)
    for name in ("count", "total", "squares", "origin"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))


async def test_state_is_stored_with_the_answer(store: Store) -> None:
    """A system begins without an alarm; a diagnosis sets its state in the same transaction, or leaves it."""
    a, _ = await two_tenants(store)
    system = await store.systems.add(a, "press", "generic", "")
    assert not system.alarm
    await store.diagnoses.record(a, diagnosis(system.system_id), None, alarm=True)
    await store.diagnoses.record(a, diagnosis(system.system_id), None)
    assert (await store.systems.get(a, system.system_id)).alarm
    twice = diagnosis(system.system_id)
    await store.diagnoses.record(a, twice, None)
    with pytest.raises(Conflict):
        await store.diagnoses.record(a, twice, None, alarm=False)
    assert (await store.systems.get(a, system.system_id)).alarm


async def test_a_deleted_system_takes_no_diagnosis(store: Store) -> None:
    """What was judged while its system was deleted is not found, and leaves nothing behind."""
    a, _ = await two_tenants(store)
    system = await store.systems.add(a, "press", "generic", "")
    await store.systems.delete(a, system.system_id)
    late = diagnosis(system.system_id)
    with pytest.raises(NotFound, match="system"):
        await store.diagnoses.record(a, late, SUMS)
    with pytest.raises(NotFound, match="diagnosis"):
        await store.diagnoses.get(a, late.trace_id)


async def test_accounts_are_unique_in_any_case(store: Store) -> None:
    """User names and e-mail addresses are found and refused whatever their case; the error names the field."""
    a, b = await two_tenants(store)
    account = await store.accounts.add(a, "Ann", "ann@example.com", "hash", "admin")
    assert await store.accounts.by_login("ANN@example.com") == account
    assert await store.accounts.by_login("ann") == account
    assert await store.accounts.get(account.user_id) == account
    with pytest.raises(Conflict, match="username"):
        await store.accounts.add(b, "ann", "other@example.com", "hash", "viewer")
    with pytest.raises(Conflict, match="email"):
        await store.accounts.add(b, "bob", "Ann@Example.com", "hash", "viewer")
    await store.keys.add(a, "plc", "operator", b"digest")
    principal = await store.keys.principal(b"digest")
    assert principal is not None
    assert (principal.tenant_id, principal.user_id, principal.role) == (a, None, "operator")
    assert await store.keys.principal(b"other") is None


async def session(store: Store, days: int = 1) -> tuple[int, UUID, UUID]:
    """Return user, family and refresh token of a new session."""
    a, _ = await two_tenants(store)
    account = await store.accounts.add(a, "ann", "ann@example.com", "hash", "admin")
    family, token = uuid4(), uuid4()
    await store.sessions.start(account.user_id, family, token, datetime.now(UTC) + timedelta(days=days))
    return account.user_id, family, token


async def test_a_reused_refresh_token_revokes_its_family(store: Store) -> None:
    """A token works once; its second use ends every token that descends from the same log-in."""
    user, family, first = await session(store)
    ends = datetime.now(UTC) + timedelta(days=1)
    second = uuid4()
    assert await store.sessions.rotate(first, second, ends) == (user, family)
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(first, uuid4(), ends)
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(second, uuid4(), ends)


async def test_of_two_rotations_at_once_one_wins(store: Store) -> None:
    """Two uses of one token at the same moment give at most one new token."""
    _, _, first = await session(store)
    ends = datetime.now(UTC) + timedelta(days=1)
    outcomes = await asyncio.gather(
        *(store.sessions.rotate(first, uuid4(), ends) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 1


async def test_expired_and_ended_sessions_do_not_rotate(store: Store) -> None:
    """An expired token and one of an ended session are refused."""
    _, _, expired = await session(store, days=-1)
    ends = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(expired, uuid4(), ends)
    user = await store.accounts.by_login("ann")
    assert user is not None
    token = uuid4()
    await store.sessions.start(user.user_id, uuid4(), token, ends)
    await store.sessions.end(token)
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(token, uuid4(), ends)


def test_migrations_repeat_and_return(database_url: str) -> None:
    """A second migration changes nothing; down to nothing and up again works."""
    migrate(database_url)
    migrate(database_url)
    newest = current(database_url)
    assert newest
    downgrade(database_url, "base")
    assert current(database_url) == ""
    migrate(database_url)
    assert current(database_url) == newest


async def test_a_dead_server_is_unavailable() -> None:
    """No server is one short error that shows no address and no password."""
    store = Store.open("postgresql+psycopg://hdx:secret-password@127.0.0.1:1/hdx", 1)
    with pytest.raises(Unavailable) as raised:
        await store.ping()
    assert "secret-password" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


async def test_one_that_cannot_be_stored_harms_none_stored_with_it(store: Store) -> None:
    """Of many stored at once, over two tenants, the one of a deleted system and the repeated one fail alone."""
    a, b = await two_tenants(store)
    gone, own, other = [await commissioned(store, tenant) for tenant in (a, a, b)]
    await store.systems.delete(a, gone.system_id)
    stored = diagnosis(own.system_id)
    await store.diagnoses.record(a, stored, None)
    good = [(a, diagnosis(own.system_id)) for _ in range(20)] + [(b, diagnosis(other.system_id)) for _ in range(20)]
    bad = [(a, diagnosis(gone.system_id)), (a, stored), (b, diagnosis(own.system_id))]
    outcomes = await asyncio.gather(
        *(store.diagnoses.record(tenant, each, SUMS) for tenant, each in [*good, *bad]), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes[:40]} == {Kept}
    assert [type(outcome) for outcome in outcomes[40:]] == [NotFound, Conflict, NotFound]
    for tenant, each in good:
        assert (await store.diagnoses.get(tenant, each.trace_id)).trace_id == each.trace_id
    for tenant, system in ((a, own), (b, other)):
        _, normal = await store.systems.machine(tenant, system.system_id)
        assert normal is not None
        np.testing.assert_allclose(normal.points[0].baseline.count, 20 * SUMS.sums.count)


async def test_a_deed_without_its_note_is_not_done(store: Store) -> None:
    """Where the audit cannot be written, nothing is made, changed, deleted or withdrawn."""
    nobody: str = None  # type: ignore[assignment]  # the audit refuses it
    a, _ = await two_tenants(store)
    system = await store.systems.add(a, "press", "generic", "")
    account = await store.accounts.add(a, "ann", "ann@example.com", "hash", "viewer")
    await store.keys.add(a, "line 4", "operator", b"digest")
    (key,) = await store.keys.page(a)
    family = uuid4()
    await store.sessions.start(account.user_id, family, uuid4(), datetime.now(UTC) + timedelta(days=1))
    opened = await store.sessions.page(a, account.user_id)
    await store.documents.add(a, "press", "press.md", "0", b"# Press")
    for deed in (
        store.systems.add(a, "lift", "generic", "", nobody),
        store.systems.change(a, system.system_id, "lift", None, nobody),
        store.systems.change(a, system.system_id, actor=nobody, state="maintenance"),
        store.systems.commission(a, system.system_id, Normal.of(SUMS.sums), 20, actor=nobody),
        store.systems.forget(a, system.system_id, nobody),
        store.systems.delete(a, system.system_id, nobody),
        store.accounts.add(a, "bob", "bob@example.com", "hash", "viewer", nobody),
        store.accounts.set_active(account, False, nobody),
        store.accounts.change(a, account.user_id, nobody, role="engineer"),
        store.accounts.end_sessions(a, account.user_id, nobody),
        store.sessions.end_one(a, account.user_id, family, nobody),
        store.accounts.set_password(account, "other", nobody),
        store.keys.add(a, "line 5", "operator", b"other digest", nobody),
        store.keys.revoke(a, key.key_id, nobody),
        store.documents.add(a, "lift", "lift.md", "1", b"# Lift", nobody),
        store.documents.remove(a, "press", nobody),
    ):
        with pytest.raises((IntegrityError, NotFound)):
            await deed
    assert await store.systems.page(a) == [system]
    assert await store.accounts.get(account.user_id) == account
    assert await store.accounts.by_login("bob") is None
    assert await store.keys.page(a) == [key]
    assert await store.sessions.page(a, account.user_id) == opened
    assert [document.state for document in await store.documents.page(a, "", 10)] == ["queued"]
