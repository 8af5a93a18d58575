"""Brings a database to the tables that this version expects; two starts at once end on the same ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import Connection, create_engine, func, make_url, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from pipelines.errors import Unavailable
from serve_app.store.tables import APP_ROLE

MIGRATIONS = Path(__file__).parent / "migrations"
RESTORING = "hdx_restoring"  # the schema that a database has for as long as a backup is being put into it
LOCK = 0x484458  # "HDX"; any number that nobody else on this database takes
TIMEOUT_S = 10  # to connect; own choice, twice what the store allows: nobody waits for an answer here


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to a revision, one start at a time.

    Raises:
        Unavailable: The server does not answer, or its user may not do what is needed.
    """
    with _alone(url) as connection:
        if connection.execute(select(func.to_regnamespace(RESTORING))).scalar() is not None:
            raise Unavailable("database", "a restore into it has not come to its end: repeat `hdx restore`")
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to a revision; `base` is empty.

    Raises:
        Unavailable: As `migrate`.
    """
    with _alone(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str:
    """Return the revision that the database is at, empty for none.

    Raises:
        Unavailable: As `migrate`.
    """
    with _alone(url) as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def known_revisions() -> tuple[str, ...]:
    """Return all revisions that there are, the newest first."""
    found = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return tuple(script.revision for script in found)


def make_role(url: str) -> None:
    """Make the application's role for the user of the address, as the first migration does.

    Raises:
        Unavailable: As `migrate`.
    """
    first = import_module("serve_app.store.migrations.versions.0001_first")
    with _alone(url) as connection:
        for statement in (first.ROLE, first.MEMBERSHIP):
            connection.execute(text(statement))


def create_database(url: str, name: str) -> None:
    """Make a database on the server of `url` unless it exists."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        known = connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
        if known.scalar() is not None:
            return
        quoted = engine.dialect.identifier_preparer.quote(name)
        try:
            connection.execute(text(f"CREATE DATABASE {quoted}"))
        except (IntegrityError, ProgrammingError) as error:
            # Another start made it between the two statements, or makes it right now.
            if not isinstance(error.orig, errors.DuplicateDatabase | errors.UniqueViolation):
                raise


def beside(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _alone(url: str) -> Iterator[Connection]:
    """Open a transaction that no other start's migration runs beside."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": TIMEOUT_S})
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield connection
    except OperationalError as error:
        raise Unavailable("database", f"does not answer: {type(error.orig).__name__}") from None
    except ProgrammingError as error:
        if not isinstance(error.orig, errors.InsufficientPrivilege):
            raise
        said = error.orig.diag.message_primary
        rule = f"the user of the address must own the database and have CREATEROLE or be a member of role {APP_ROLE}"
        raise Unavailable("database", f"{said}; {rule}") from None


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
