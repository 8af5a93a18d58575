"""Keys with a prefix to tell them by, scopes, an end and a last use; sessions that remember when they began."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("api_keys", sa.Column("prefix", sa.Text, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("scopes", sa.ARRAY(sa.Text)))
    op.add_column("api_keys", _time("expires_at"))
    op.add_column("api_keys", _time("last_used_at"))
    op.create_check_constraint("api_keys_scopes", "api_keys", "cardinality(scopes) > 0")
    op.execute(f"GRANT UPDATE (last_used_at) ON api_keys TO {APP_ROLE}")
    op.add_column("refresh_tokens", _time("begun_at"))


def downgrade() -> None:
    """Remove them; a key that was held to scopes or to an end would open more without, and is revoked."""
    op.drop_column("refresh_tokens", "begun_at")
    op.execute("ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE api_keys SET revoked_at = now() "
        "WHERE revoked_at IS NULL AND (scopes IS NOT NULL OR expires_at IS NOT NULL)"
    )
    op.execute("ALTER TABLE api_keys FORCE ROW LEVEL SECURITY")
    op.drop_constraint("api_keys_scopes", "api_keys")
    for name in ("last_used_at", "expires_at", "scopes", "prefix"):
        op.drop_column("api_keys", name)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))
