"""Sixth step of the database: credentials that can be withdrawn, and rows that end with their time.

Accounts count how often their credentials were withdrawn, keys say when they were revoked, and what is past its days
may be deleted by whoever clears up.
"""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0006"
down_revision = "0005"

OF_USER = "user_id = NULLIF(current_setting('hdx.user', true), '')::integer"
WITHDRAWN = "withdrawn_at IS NOT NULL AND NULLIF(current_setting('hdx.withdrawn', true), '') = 'all'"
# Rows before this moment may go, and no setting makes the application delete younger ones than stand here.
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = {
    "diagnoses": f"created_at < {MOMENT} AND created_at < now() - interval '1 day'",
    "audit": f"created_at < {MOMENT} AND created_at < now() - interval '30 days'",
    "refresh_tokens": f"expires_at < {MOMENT} AND expires_at < now()",
}


def upgrade() -> None:
    """Add columns, rights and policies."""
    op.add_column("users", sa.Column("generation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("users", sa.Column("withdrawn_at", sa.DateTime(timezone=True)))
    op.create_index("users_withdrawn", "users", ["withdrawn_at"], postgresql_where=sa.text("withdrawn_at IS NOT NULL"))
    op.add_column("api_keys", sa.Column("key_id", sa.Integer, sa.Identity(), nullable=False))
    op.add_column("api_keys", sa.Column("revoked_at", sa.DateTime(timezone=True)))
    op.create_unique_constraint("api_keys_id", "api_keys", ["key_id"])
    op.execute(f"GRANT UPDATE (revoked_at) ON api_keys TO {APP_ROLE}")
    op.execute(f"CREATE POLICY withdrawn ON users FOR SELECT USING ({WITHDRAWN})")
    op.execute(f"CREATE POLICY of_user ON refresh_tokens FOR ALL USING ({OF_USER})")
    op.create_index("audit_by_time", "audit", ["created_at"])
    op.create_index("refresh_tokens_by_end", "refresh_tokens", ["expires_at"])
    for table, rule in PASSING.items():
        op.execute(f"GRANT DELETE ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY past_seen ON {table} FOR SELECT USING ({rule})")
        op.execute(f"CREATE POLICY past ON {table} AS RESTRICTIVE FOR DELETE USING ({rule})")
        op.execute(f"CREATE POLICY past_gone ON {table} FOR DELETE USING ({rule})")


def downgrade() -> None:
    """Remove them."""
    for table in PASSING:
        for policy in ("past_gone", "past", "past_seen"):
            op.execute(f"DROP POLICY {policy} ON {table}")
        op.execute(f"REVOKE DELETE ON {table} FROM {APP_ROLE}")
    op.drop_index("refresh_tokens_by_end", "refresh_tokens")
    op.drop_index("audit_by_time", "audit")
    op.execute("DROP POLICY of_user ON refresh_tokens")
    op.execute("DROP POLICY withdrawn ON users")
    op.execute(f"REVOKE UPDATE (revoked_at) ON api_keys FROM {APP_ROLE}")
    op.drop_constraint("api_keys_id", "api_keys")
    for table, names in {"api_keys": ("revoked_at", "key_id"), "users": ("withdrawn_at", "generation")}.items():
        for name in names:
            op.drop_column(table, name)
