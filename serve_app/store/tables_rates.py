"""The tables of what is counted; they are no tenant's, and are not written to the server's log."""

from sqlalchemy import ARRAY, BigInteger, Column, Double, Table, Text

from serve_app.store.tables import metadata

# Requests by period since the epoch, and of log-in attempts when each was.
request_counts = Table(
    "request_counts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("period", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    prefixes=["UNLOGGED"],
)
login_attempts = Table(
    "login_attempts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("moments", ARRAY(Double), nullable=False),
    Column("expires_at", Double, nullable=False),
    prefixes=["UNLOGGED"],
)
