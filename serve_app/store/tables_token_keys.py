"""The table of the generations of keys that tokens are signed by; no key stands in it."""

from sqlalchemy import Column, DateTime, Integer, Table, func

from serve_app.store.tables import metadata

token_keys = Table(
    "token_keys",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
