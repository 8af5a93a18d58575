"""Before the first query: brings a database to the tables that this version expects.

Exists so that every start, also two at once, ends on the same tables.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from pipelines.errors import Unavailable

LOCK = 0x484458  # "HDX"; any number that nobody else on this database takes


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to a revision, one start at a time.

    Raises:
        Unavailable: The server does not answer.
    """
    try:
        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            command.upgrade(_config(connection), revision)
    except OperationalError as error:
        raise Unavailable("database", f"does not answer: {type(error.orig).__name__}") from None


def downgrade(url: str, revision: str) -> None:
    """Take the database back to a revision; `base` is empty."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        command.downgrade(_config(connection), revision)


def current(url: str) -> str:
    """Return the revision that the database is at, empty for none."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def create_database(url: str, name: str) -> None:
    """Make a database on the server of `url` unless it exists."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        known = connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
        if known.scalar() is None:
            quoted = engine.dialect.identifier_preparer.quote(name)
            connection.execute(text(f"CREATE DATABASE {quoted}"))


def beside(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
