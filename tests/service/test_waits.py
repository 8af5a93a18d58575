"""Whatever the database waits for ends: a locked row, a silent server, connections that died in the pool."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from configs.settings import DatabaseWaits
from pipelines.errors import NotFound, Unavailable
from serve_app.store.database import Database
from serve_app.store.repository import Store
from tests.service.houses import House, diagnosis_of, learned, make_house

WAITS = DatabaseWaits(connect_s=1, lock_s=1, statement_s=4, transaction_s=4)
SLACK_S = 2  # what a machine under load may add


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A store that waits for little."""
    opened = Store.open(url, 4, WAITS)
    yield opened
    await opened.close()


@contextmanager
def another_session(url: str) -> Iterator[Connection]:
    """Somebody else at work in the database."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


def hold(session: Connection, house: House) -> None:
    """Lock the normal of a house's system."""
    session.execute(text("SELECT set_config('hdx.tenant', :id, false)"), {"id": str(house.tenant_id)})
    query = "SELECT FROM normals WHERE system_id = :id FOR UPDATE"
    assert session.execute(text(query), {"id": house.system.system_id}).rowcount == 1


async def test_one_tenants_lock_holds_up_no_other(store: Store, url: str) -> None:
    """While a row of one tenant is locked others store and read; the one is told so within the limit, and no more."""
    locked, free = await make_house(store), await make_house(store)
    answer = diagnosis_of(locked.system.system_id)
    with another_session(url) as session:
        hold(session, locked)
        begun = time.monotonic()
        stuck = asyncio.ensure_future(store.diagnoses.record(locked.tenant_id, answer, learned(1)))
        await asyncio.sleep(0.1)
        await store.diagnoses.record(free.tenant_id, diagnosis_of(free.system.system_id), learned(1))
        await store.systems.machine(free.tenant_id, free.system.system_id)
        assert not stuck.done()
        with pytest.raises(Unavailable, match="others are writing"):
            await stuck
        assert time.monotonic() - begun < WAITS.lock_s + SLACK_S
        with pytest.raises(NotFound):
            await store.diagnoses.get(locked.tenant_id, answer.trace_id)
    await store.diagnoses.record(locked.tenant_id, answer, learned(1))


async def test_many_of_a_locked_tenant_leave_connections_for_others(store: Store, url: str) -> None:
    """Fifty answers of the tenant whose row is locked wait in one transaction, not in fifty."""
    locked, free = await make_house(store), await make_house(store)
    with another_session(url) as session:
        hold(session, locked)
        answers = [diagnosis_of(locked.system.system_id) for _ in range(50)]
        stuck = asyncio.gather(
            *(store.diagnoses.record(locked.tenant_id, answer, learned(1)) for answer in answers),
            return_exceptions=True,
        )
        await asyncio.sleep(0.1)
        await store.diagnoses.record(free.tenant_id, diagnosis_of(free.system.system_id), learned(1))
        assert not stuck.done()
        assert {type(outcome) for outcome in await stuck} == {Unavailable}


async def test_a_long_statement_ends(url: str) -> None:
    """A statement that takes longer than its limit is unavailable, and its connection serves again."""
    waits = WAITS.model_copy(update={"statement_s": 0.5, "long_s": 1.5})
    database = Database.open(url, 1, waits)
    for long, limit_s in ((False, waits.statement_s), (True, waits.long_s), (False, waits.statement_s)):
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            async with database.tenant(0, long) as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))
        assert limit_s - 0.1 < time.monotonic() - begun < limit_s + SLACK_S
    async with database.tenant(0) as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    await database.close()


class Line:
    """A proxy before a server that can fall silent while its connections stay open."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways."""
        await self._open.wait()
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
        writer.close()

    def fall_silent(self) -> None:
        """Hold back every byte from now on."""
        self._open.clear()

    def speak(self) -> None:
        """Let bytes pass again."""
        self._open.set()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to the server of an address, and the address of its near end."""
    address = make_url(url)
    assert address.host is not None
    assert address.port is not None
    line = Line(address.host, address.port)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    near = address.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    yield line, near.render_as_string(hide_password=False)
    server.close()


async def test_a_silent_server_is_unavailable(remote_migrated_url: str) -> None:
    """A server that says nothing more, in the middle or from the start, is given up in time; speaking, it serves."""
    async with line_to(remote_migrated_url) as (line, url):
        store = Store.open(url, 2, WAITS)
        house = await make_house(store)
        line.fall_silent()
        for _ in range(2):  # on connections of the pool, and on those that must be made
            begun = time.monotonic()
            outcomes = await asyncio.gather(
                store.systems.machine(house.tenant_id, house.system.system_id),
                store.diagnoses.record(house.tenant_id, diagnosis_of(house.system.system_id), learned(1)),
                store.ping(),
                return_exceptions=True,
            )
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            assert time.monotonic() - begun < 2 * WAITS.transaction_s + 2 * WAITS.connect_s + SLACK_S
        line.speak()
        await store.ping()
        await store.close()


async def test_connections_that_died_in_the_pool_are_replaced(store: Store, url: str) -> None:
    """After the server has ended every connection the next call is answered, without a question before each."""
    house = await make_house(store)
    with another_session(url) as session:
        # Not its own workers: a role that is no superuser may not end autovacuum.
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'
        """
        ended = session.execute(text(query))
        assert ended.rowcount
    assert await store.systems.get(house.tenant_id, house.system.system_id) == house.system


async def test_a_caller_who_leaves_gives_the_connection_back(url: str) -> None:
    """Cancelled in the middle of a query, a call ends, and the only connection serves the next one."""
    database = Database.open(url, 1, WAITS)

    async def ask() -> None:
        async with database.tenant(0) as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))

    asked = asyncio.ensure_future(ask())
    await asyncio.sleep(0.3)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    async with database.tenant(0) as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    await database.close()
