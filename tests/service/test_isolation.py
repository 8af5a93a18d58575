"""Isolation of tenants in every table and every method of the store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from configs.settings import Retention
from pipelines.errors import Conflict, NotFound
from serve_app.store.database import Database
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE, metadata
from tests.service.houses import House, diagnosis_of, learned, make_house, normal_of, reading_of, soon, suspect_of


@contextmanager
def as_application(url: str, tenant_id: int | None) -> Iterator[Connection]:
    """A connection of the role that the application works as."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": f"-c role={APP_ROLE}"})
    with engine.connect() as connection:
        if tenant_id is not None:
            connection.execute(text("SELECT set_config('hdx.tenant', :id, false)"), {"id": str(tenant_id)})
        yield connection


# --- row-level security


async def test_without_a_tenant_nothing_is_seen(store: Store, url: str) -> None:
    """Raw SQL of the application's role sees no row of any table until a tenant is set."""
    await make_house(store)
    with as_application(url, None) as connection:
        seen = {name: len(connection.execute(select(table)).all()) for name, table in metadata.tables.items()}
    assert seen == dict.fromkeys(metadata.tables, 0)


NO_TENANTS = {"tenants", "refresh_tokens", "request_counts", "login_attempts", "token_keys", "invitations"}


async def test_a_tenant_sees_its_own_rows_alone(store: Store, url: str) -> None:
    """Raw SQL without any WHERE returns the rows of the tenant that is set, and no session or count of anybody."""
    ours, _ = await make_house(store), await make_house(store)
    with as_application(url, ours.tenant_id) as connection:
        for name, table in metadata.tables.items():
            rows = connection.execute(select(table)).all()
            if name in NO_TENANTS:
                assert rows == []
            else:
                assert {row.tenant_id for row in rows} == {ours.tenant_id}


async def test_a_tenant_cannot_write_for_another(store: Store, url: str) -> None:
    """A row can neither be made for nor handed to another tenant."""
    ours, theirs = await make_house(store), await make_house(store)
    row = {"other": theirs.tenant_id}
    for statement in (
        "INSERT INTO systems (tenant_id, name, family, description) VALUES (:other, 'x', 'generic', '')",
        "UPDATE systems SET tenant_id = :other",
        "UPDATE normals SET tenant_id = :other",
    ):
        with as_application(url, ours.tenant_id) as connection, pytest.raises(ProgrammingError, match="row-level"):
            connection.execute(text(statement), row)
    with as_application(url, ours.tenant_id) as connection:
        assert connection.execute(text("DELETE FROM systems WHERE tenant_id = :other"), row).rowcount == 0


async def test_a_log_in_sees_one_account(store: Store, url: str) -> None:
    """The transaction of a log-in sees the account it names and no other, even where the query forgets to ask."""
    ours, _ = await make_house(store), await make_house(store)
    with as_application(url, None) as connection:
        connection.execute(text("SELECT set_config('hdx.login', :name, false)"), {"name": ours.username})
        assert [row.user_id for row in connection.execute(text("SELECT user_id FROM users"))] == [ours.user_id]


async def test_notes_and_answers_are_final(store: Store, url: str) -> None:
    """The application changes no audit note and no kept answer, and deletes none that is young, whatever it sets."""
    ours = await make_house(store)
    for statement in (
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "INSERT INTO audit (tenant_id, actor, action, subject, detail, created_at) VALUES (1, '', '', '', '', now())",
        "UPDATE audit_leaves SET leaf_index = 0",
        "DELETE FROM audit_leaves",
        "UPDATE audit_checkpoints SET size = 0",
        "DELETE FROM audit_checkpoints",
        "UPDATE token_keys SET begun_at = now()",
        "DELETE FROM token_keys",
        "UPDATE identities SET user_id = 1",
        "UPDATE invitations SET tenant = 'x'",
        "UPDATE invitations SET expires_at = now()",
        "DELETE FROM invitations",
        "INSERT INTO token_keys (number, begun_at) VALUES (2, now())",
        "UPDATE diagnoses SET family = 'x'",
        "UPDATE answers SET question = 'x'",
        "DELETE FROM answer_feedback",
    ):
        with as_application(url, ours.tenant_id) as connection, pytest.raises(ProgrammingError, match="permission"):
            connection.execute(text(statement))
    for past in ("", "infinity"):
        with as_application(url, ours.tenant_id) as connection:
            connection.execute(text("SELECT set_config('hdx.past', :past, false)"), {"past": past})
            for statement in (
                "DELETE FROM diagnoses",
                "DELETE FROM answers",
                "DELETE FROM refresh_tokens WHERE expires_at > now()",
            ):
                assert connection.execute(text(statement)).rowcount == 0


def test_the_role_owns_nothing(url: str) -> None:
    """The application's role owns no object, is no superuser, passes no policy by, cannot log in."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        role = connection.execute(text("SELECT * FROM pg_roles WHERE rolname = :role"), {"role": APP_ROLE}).one()
        assert not (role.rolsuper or role.rolbypassrls or role.rolcanlogin or role.rolcreaterole or role.rolcreatedb)
        owned = "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = :role)"
        assert connection.execute(text(owned), {"role": APP_ROLE}).scalar() == 0


def test_security_is_forced_on_every_table(url: str) -> None:
    """Every table has row-level security, for its owner too."""
    query = text("SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = CAST(:name AS regclass)")
    with create_engine(url, poolclass=NullPool).connect() as connection:
        forced = {name: connection.execute(query, {"name": name}).scalar() for name in metadata.tables}
    assert forced == dict.fromkeys(metadata.tables, True)


async def test_an_ordinary_owner_sees_nothing(store: Store, url: str) -> None:
    """Even the user who owns the tables sees no row without a tenant."""
    await make_house(store)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        if connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar():
            pytest.skip("the embedded server's user is superuser, whom no policy binds")
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 0


async def test_a_connection_forgets_its_tenant(url: str) -> None:
    """The tenant ends with the transaction: the next one on the same connection starts blind."""
    database = Database.open(url, 1)
    try:
        store = Store(database)
        house = await make_house(store)
        assert await store.systems.page(house.tenant_id)
        async with database.transaction("hdx.nothing", "") as connection:
            assert (await connection.execute(text("SELECT current_user"))).scalar() == APP_ROLE
            assert (await connection.execute(text("SELECT count(*) FROM systems"))).scalar() == 0
    finally:
        await database.close()


async def test_a_connection_forgets_whom_it_served(url: str) -> None:
    """What a log-in, a session or the clearing of all tenants may see, the connection's next transaction may not."""
    database = Database.open(url, 1)
    try:
        store = Store(database)
        ours, theirs = await make_house(store), await make_house(store)
        assert await store.accounts.by_login(theirs.username)
        theirs_account = await store.accounts.get(theirs.user_id)
        assert theirs_account
        await store.sessions.rotate(theirs.token_id, uuid4(), soon())
        await store.accounts.set_password(theirs_account, "hash")
        await store.retention.clear(Retention())
        async with database.tenant(ours.tenant_id) as connection:
            seen = await connection.execute(text("SELECT user_id FROM users"))
            assert [user_id for (user_id,) in seen] == [ours.user_id]
            assert (await connection.execute(text("SELECT count(*) FROM refresh_tokens"))).scalar() == 0
            rows = await connection.execute(text("SELECT DISTINCT tenant_id FROM diagnoses"))
            assert [tenant_id for (tenant_id,) in rows] == [ours.tenant_id]
    finally:
        await database.close()


# --- every method keeps to its tenant

Deed = Callable[[Store, int, House], Awaitable[object]]
FOREIGN: dict[str, Deed] = {
    "system": lambda store, mine, theirs: store.systems.get(mine, theirs.system.system_id),
    "machine": lambda store, mine, theirs: store.systems.machine(mine, theirs.system.system_id),
    "change_system": lambda store, mine, theirs: store.systems.change(mine, theirs.system.system_id, name="x"),
    "delete_system": lambda store, mine, theirs: store.systems.delete(mine, theirs.system.system_id),
    "record": lambda store, mine, theirs: store.diagnoses.record(mine, diagnosis_of(theirs.system.system_id), None),
    "record, learned": lambda store, mine, theirs: store.diagnoses.record(
        mine, diagnosis_of(theirs.system.system_id), learned(9)
    ),
    "commission": lambda store, mine, theirs: store.systems.commission(mine, theirs.system.system_id, normal_of(9), 20),
    "amend": lambda store, mine, theirs: store.systems.amend(mine, theirs.system.system_id, lambda _: normal_of(9), ""),
    "forget": lambda store, mine, theirs: store.systems.forget(mine, theirs.system.system_id),
    "windows": lambda store, mine, theirs: store.diagnoses.windows(
        mine, theirs.system.system_id, [theirs.diagnosis.trace_id]
    ),
    "readings": lambda store, mine, theirs: store.readings.add(mine, theirs.system.system_id, [reading_of(7.0)]),
    "quarantine": lambda store, mine, theirs: store.readings.add(
        mine, theirs.system.system_id, [], [suspect_of("7000")]
    ),
    "user": lambda store, mine, theirs: store.accounts.own(mine, theirs.user_id),
    "change_user": lambda store, mine, theirs: store.accounts.change(mine, theirs.user_id, role="viewer"),
    "end_sessions": lambda store, mine, theirs: store.accounts.end_sessions(mine, theirs.user_id),
    "sessions": lambda store, mine, theirs: store.sessions.page(mine, theirs.user_id),
    "job": lambda store, mine, theirs: store.jobs.get(mine, theirs.job.job_id),
    "cancel": lambda store, mine, theirs: store.jobs.cancel(mine, theirs.job.job_id),
    "diagnosis": lambda store, mine, theirs: store.diagnoses.get(mine, theirs.diagnosis.trace_id),
    "feedback": lambda store, mine, theirs: store.feedback.give(
        mine, theirs.diagnosis.trace_id, "confirmed", None, "", "x"
    ),
    "answer's feedback": lambda store, mine, theirs: store.answers.give(
        mine, theirs.diagnosis.trace_id, "user 1", "wrong", "", "x"
    ),
}


async def _settle(store: Store, mine: int, theirs: House) -> None:
    number = theirs.system.system_id
    (aside,) = await store.readings.quarantined(theirs.tenant_id, number)
    try:
        await store.readings.settle(mine, number, {}, [aside.quarantine_id])
    finally:
        assert await store.readings.quarantined(theirs.tenant_id, number) == [aside]


FOREIGN["settle"] = _settle


async def _password(store: Store, mine: int, theirs: House) -> None:
    account = await store.accounts.own(theirs.tenant_id, theirs.user_id)
    try:
        await store.accounts.set_password(replace(account, tenant_id=mine), "hash")
    finally:
        assert await store.accounts.own(theirs.tenant_id, theirs.user_id) == account


async def _session(store: Store, mine: int, theirs: House) -> None:
    (open_one,) = await store.sessions.page(theirs.tenant_id, theirs.user_id)
    try:
        await store.sessions.end_one(mine, theirs.user_id, open_one.session_id)
    finally:
        assert await store.sessions.page(theirs.tenant_id, theirs.user_id) == [open_one]


async def _key(store: Store, mine: int, theirs: House) -> None:
    (key,) = await store.keys.page(theirs.tenant_id)
    await store.keys.used(mine, {theirs.key: soon()})
    try:
        await store.keys.revoke(mine, key.key_id)
    finally:
        assert await store.keys.page(theirs.tenant_id) == [key]


FOREIGN |= {"password": _password, "session": _session, "key": _key}


@pytest.mark.parametrize("deed", FOREIGN.values(), ids=FOREIGN)
async def test_what_another_tenant_has_is_not_found(store: Store, deed: Deed) -> None:
    """Another tenant's system or diagnosis reads as absent, and nothing of it changes."""
    mine, theirs = await make_house(store), await make_house(store)
    with pytest.raises(NotFound):
        await deed(store, mine.tenant_id, theirs)
    (account,) = await store.accounts.page(theirs.tenant_id)
    assert (account.user_id, account.role, account.generation) == (theirs.user_id, "admin", 0)
    system, normal = await store.systems.machine(theirs.tenant_id, theirs.system.system_id)
    assert system == theirs.system
    assert normal is not None
    assert normal.to_bytes() == normal_of(0).learning(learned(1)).to_bytes()
    assert await store.diagnoses.newest(mine.tenant_id, theirs.system.system_id, 10) == []
    begin, end = reading_of().at, reading_of().at + timedelta(days=1)
    assert await store.readings.span(mine.tenant_id, theirs.system.system_id, begin, end, 10) == []
    assert await store.readings.quarantined(mine.tenant_id, theirs.system.system_id) == []
    assert await store.archive.begin(mine.tenant_id, theirs.system.system_id, begin.date()) is None
    (kept,) = await store.readings.span(theirs.tenant_id, theirs.system.system_id, begin, end, 10)
    assert kept.points == ((begin, reading_of().value),)


async def test_asked_together_each_gets_its_own(store: Store) -> None:
    """Systems read in one batch keep their places; one that is missing, or another's, is not found beside them."""
    mine, theirs = await make_house(store), await make_house(store)
    second = await store.systems.add(mine.tenant_id, "Lift", "generic", "")
    asked = [mine.system.system_id, theirs.system.system_id, second.system_id, 2**31 - 1, mine.system.system_id]
    leader = asyncio.ensure_future(store.systems.machine(mine.tenant_id, second.system_id))  # the rest wait for it
    found = await asyncio.gather(
        *(store.systems.machine(mine.tenant_id, number) for number in asked), return_exceptions=True
    )
    await leader
    own = [outcome[0] if isinstance(outcome, tuple) else type(outcome) for outcome in found]
    assert own == [mine.system, NotFound, second, NotFound, mine.system]


async def test_lists_hold_own_rows(store: Store) -> None:
    """Lists of systems and of audit notes hold the tenant's own rows, in pages and newest first."""
    mine, theirs = await make_house(store), await make_house(store)
    second = await store.systems.add(mine.tenant_id, "Lift", "generic", "second")
    assert await store.systems.page(mine.tenant_id) == [mine.system, second]
    assert await store.systems.page(mine.tenant_id, after=mine.system.system_id) == [second]
    assert await store.systems.page(mine.tenant_id, limit=1) == [mine.system]
    await store.audit.note(mine.tenant_id, "me", "later", "system 1", "detail")
    assert [note.action for note in await store.audit.newest(mine.tenant_id)] == [
        "later",
        "system.added",
        "document.added",
        "job.added",
        "answer.feedback",
        "feedback",
        "made",
        "identity.linked",
        "login",
        "system.commissioned",
        "system.added",
        "family.added",
        "key.added",
        "user.added",
    ]
    assert [note.actor for note in await store.audit.newest(theirs.tenant_id)] == [
        "command line",
        "ann",
        *[theirs.username] * 5,
        *["command line"] * 5,
    ]


# --- systems, normals, diagnoses


async def test_a_change_keeps_what_is_not_given(store: Store) -> None:
    """Changing one field leaves the other as it was."""
    house = await make_house(store)
    number = house.system.system_id
    await store.systems.change(house.tenant_id, number, description="hall 2")
    changed = await store.systems.change(house.tenant_id, number, name="Lift")
    assert (changed.name, changed.description) == ("Lift", "hall 2")


async def test_a_diagnosis_reads_back_as_written(store: Store) -> None:
    """A stored answer is read back by its trace id, value for value."""
    house = await make_house(store)
    assert await store.diagnoses.get(house.tenant_id, house.diagnosis.trace_id) == house.diagnosis


async def test_a_record_is_whole_or_absent(store: Store) -> None:
    """A record that fails teaches nothing: its trace id was taken, so what it taught is not kept."""
    house = await make_house(store)
    with pytest.raises(Conflict, match="trace_id"):
        await store.diagnoses.record(house.tenant_id, house.diagnosis, learned(9))
    _, normal = await store.systems.machine(house.tenant_id, house.system.system_id)
    assert normal is not None
    assert normal.to_bytes() == normal_of(0).learning(learned(1)).to_bytes()
