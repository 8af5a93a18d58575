"""Counts of requests and of log-in attempts, which all replicas share where there is no Redis."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0022"
down_revision = "0021"

# They are of all tenants and of none, as strangers are counted too: the one part that counts sees them, and no tenant.
COUNTING = "NULLIF(current_setting('hdx.rates', true), '') = 'on'"
TABLES = ("request_counts", "login_attempts")


def upgrade() -> None:
    """Make the tables; unlogged, for a count that a crash of the server loses is a minute's."""
    op.create_table(
        "request_counts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("period", sa.BigInteger, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "login_attempts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("moments", sa.ARRAY(sa.Double), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY counting ON {table} FOR ALL USING ({COUNTING})")


def downgrade() -> None:
    """Remove them."""
    for table in TABLES:
        op.drop_table(table)
