"""Generations of the keys that tokens are signed by: a number each and since when; the keys follow from the secret."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0023"
down_revision = "0022"

# The first number: 1 where nothing was ever noted, and so no key rotated. Else the tables may have gone a step back,
# and a number that was had would bring its key back: so it is the second of the moment, which no rotation reaches.
NOTED = "pg_sequence_last_value(CAST(pg_get_serial_sequence('audit', 'audit_id') AS regclass)) IS NOT NULL"
SECOND = "CAST(extract(epoch FROM now() - timestamptz '2026-01-01 00:00+00') AS integer)"
FIRST = f"INSERT INTO token_keys (number) SELECT CASE WHEN {NOTED} THEN GREATEST(1, {SECOND}) ELSE 1 END"
PLATFORM = "NULLIF(current_setting('hdx.platform', true), '') = 'on'"


def upgrade() -> None:
    """Make the table with the first generation; a generation can be added, its moment is the server's, and it stays."""
    op.create_table(
        "token_keys",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute(FIRST)
    op.execute("ALTER TABLE token_keys ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE token_keys FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT (number) ON token_keys TO {APP_ROLE}")
    op.execute(f"CREATE POLICY platform ON token_keys FOR ALL USING ({PLATFORM}) WITH CHECK ({PLATFORM})")


def downgrade() -> None:
    """Remove it."""
    op.drop_table("token_keys")
