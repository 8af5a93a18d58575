"""Migrations: at once, by users of different rights, and back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from math import isnan
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from pipelines.errors import Unavailable
from pipelines.machines.commissioning import Normal
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.store.migrate import beside, create_database, current, downgrade, migrate
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE, metadata
from tests.service.houses import make_house


def tables_of(url: str) -> set[str]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return set(inspect(connection).get_table_names())


def test_tables_are_what_the_migration_makes(database_url: str) -> None:
    """The tables that queries are composed of are those in the database, column by column and index by index."""
    migrate(database_url)
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_starts_at_once_do_not_race(database_url: str) -> None:
    """Four starts at once all succeed on one set of tables."""
    with ThreadPoolExecutor(4) as starts:
        list(starts.map(migrate, [database_url] * 4))
    assert current(database_url) == "0024"


def test_a_database_is_made_once(url: str) -> None:
    """Making a database that is there, or is being made, is no error."""
    name = f"raced_{uuid4().hex}"
    with ThreadPoolExecutor(4) as starts:
        list(starts.map(lambda _: create_database(url, name), range(4)))
    assert current(beside(url, name)) == ""


def run_sql(url: str, *statements: str) -> None:
    """Run statements outside any transaction, as the user of `url`."""
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_user_without_rights_is_told_what_is_needed(remote_url: str) -> None:
    """An owner who may not create roles is told so; made a member of the role by somebody who may, he migrates."""
    create_database(remote_url, "made_by_owner")
    migrate(beside(remote_url, "made_by_owner"))
    user = f"plain_{uuid4().hex}"
    made = f"CREATE ROLE {user} LOGIN PASSWORD 'plain'", f"GRANT {user} TO CURRENT_USER"
    run_sql(remote_url, *made, f"CREATE DATABASE {user} OWNER {user}")
    url = make_url(remote_url).set(username=user, password="plain", database=user)
    address = url.render_as_string(hide_password=False)
    with pytest.raises(Unavailable, match=f"CREATEROLE or be a member of role {APP_ROLE}"):
        migrate(address)
    assert tables_of(address) == set()
    run_sql(remote_url, f"GRANT {APP_ROLE} TO {user}")
    migrate(address)
    assert tables_of(address) == {*metadata.tables, "alembic_version"}


SYSTEM = "INSERT INTO systems (tenant_id, name, family, description) VALUES (:tenant, 'x', 'generic', '')"
BASELINE = "INSERT INTO baselines VALUES (:tenant, :system, :count, :total, :squares, :origin)"


@contextmanager
def as_owner(url: str) -> Iterator[Connection]:
    """A connection of the tables' owner that sees one tenant."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT set_config('hdx.tenant_name', 'a', true), set_config('hdx.tenant', '1', true)"))
        yield connection


def test_baselines_become_normals_and_go_back(database_url: str) -> None:
    """What was learned becomes a normal, and its system is monitored where it was enough; going back loses nothing."""
    migrate(database_url, "0006")
    sums = {"total": [3.0, 2.5], "squares": [4.0, 7.0], "tenant": 1}
    with as_owner(database_url) as connection:
        connection.execute(text("INSERT INTO tenants (name) VALUES ('a')"))
        for system, windows, origin in ((1, 20.0, [1.0, None]), (2, 3.0, None)):
            connection.execute(text(SYSTEM), sums)
            row = {"system": system, "count": [windows, windows], "origin": origin}
            connection.execute(text(BASELINE), sums | row)
        first = connection.execute(text("SELECT * FROM baselines WHERE system_id = 1")).one()
    migrate(database_url)
    with as_owner(database_url) as connection:
        lives = connection.execute(text("SELECT state, learned FROM systems ORDER BY system_id")).all()
        (content,) = connection.execute(text("SELECT content FROM normals")).scalars()
    assert lives == [("monitoring", 20), ("commissioning", 3)]
    assert Normal.from_bytes(content).points[0].baseline.total.tolist() == [3.0, 2.5]
    downgrade(database_url, "0006")
    with as_owner(database_url) as connection:
        (back,) = connection.execute(text("SELECT * FROM baselines")).all()
    assert tuple(back)[:5] == tuple(first)[:5]
    assert back.origin[0] == 1.0
    assert isnan(back.origin[1])


def test_a_key_that_was_held_is_revoked_on_the_way_back(database_url: str) -> None:
    """Without the columns of its scopes and its end a key would open more; one that never had any goes on."""
    migrate(database_url)
    key = "INSERT INTO api_keys (tenant_id, name, role, sha256, scopes, expires_at) VALUES (1, :name, 'admin', :sha256"
    with as_owner(database_url) as connection:
        connection.execute(text("INSERT INTO tenants (name) VALUES ('a')"))
        for name, held in (("free", "NULL, NULL"), ("scoped", "'{read}', NULL"), ("ends", "NULL, now() + '1 day'")):
            connection.execute(text(f"{key}, {held})"), {"name": name, "sha256": name.encode()})
    downgrade(database_url, "0018")
    with as_owner(database_url) as connection:
        revoked = connection.execute(text("SELECT name, revoked_at IS NOT NULL FROM api_keys")).all()
        forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'api_keys'"
        assert connection.execute(text(forced)).scalar() is True
    assert dict(map(tuple, revoked)) == {"free": False, "scoped": True, "ends": True}


def test_nothing_is_left_below_the_first_revision(database_url: str) -> None:
    """Down to nothing leaves no table, function or right of the application's role behind."""
    migrate(database_url)
    assert tables_of(database_url) == {*metadata.tables, "alembic_version"}
    downgrade(database_url, "base")
    assert tables_of(database_url) == {"alembic_version"}
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'hdx%'")).scalar() == 0
        rights = text("SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'")
        assert APP_ROLE not in str(connection.execute(rights).scalar())


# What is gone after a step back and forward again: all of a table, or a column. The rest is as it was, row by row.
LOST = {
    "0024": {"identities", "invitations"},
    "0023": {"token_keys.begun_at", "token_keys.number"},
    "0022": {"login_attempts", "request_counts"},
    "0021": {"audit_checkpoints", "audit_leaves"},
    "0020": {"idempotency_keys"},
    "0019": {"api_keys.revoked_at", "api_keys.prefix", "api_keys.scopes", "refresh_tokens.begun_at"},
    "0018": {"answer_feedback", "answers"},
    "0017": {"archived_days", "hdx_archive"},
    "0016": {"documents.begun", "documents.upload"},
    "0015": {"job_parts", "jobs"},
}


def columns_of(url: str) -> dict[str, list[str]]:
    """Return what stands in each column of each table, and by which name the archive knows the database."""
    found: dict[str, list[str]] = {}
    with create_engine(url, poolclass=NullPool).connect() as connection:
        for table in sorted(tables_of(url) - {"alembic_version"}):
            columns = [column["name"] for column in inspect(connection).get_columns(table)]
            rows = connection.execute(text(f"SELECT to_jsonb(t) FROM {table} t")).scalars().all()  # noqa: S608
            found |= {f"{table}.{column}": sorted(str(row[column]) for row in rows) for column in columns}
        if connection.execute(text("SELECT to_regproc('hdx_archive')")).scalar():
            found["hdx_archive"] = [str(connection.execute(text("SELECT hdx_archive()")).scalar())]
    return found


def lost_of(before: dict[str, list[str]], after: dict[str, list[str]]) -> set[str]:
    """Return the columns that hold something else, and the tables of which nothing is left."""
    lost = {name for name in before if before[name] != after[name]}
    tables = {name.partition(".")[0] for name in lost if "." in name}
    gone = {name for name in tables if not any(after[each] for each in after if each.startswith(f"{name}."))}
    return {name for name in lost if name.partition(".")[0] not in gone} | gone


async def test_a_step_back_loses_what_is_said(embedded: EmbeddedPostgres) -> None:
    """Of a filled database each of the newest revisions loses, back and forward again, what it made and no more."""
    name = f"steps_{uuid4().hex}"
    create_database(embedded.url("postgres"), name)
    url = embedded.url(name)
    migrate(url)
    store = Store.open(url, 2)
    house = await make_house(store)
    held = sha256(b"held").digest()
    await store.keys.add(house.tenant_id, "held", "viewer", held, "ann", "hdx_1234", ("read",))
    await store.documents.begin(house.tenant_id, "press")
    await store.close()
    for revision, lost in LOST.items():
        downgrade(url, revision)
        before = columns_of(url)
        downgrade(url, f"{int(revision) - 1:04}")
        migrate(url, revision)
        assert (revision, lost_of(before, columns_of(url))) == (revision, lost)
