"""Keys under which callers repeat a request, each with what became of the first one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE

revision = "0020"
down_revision = "0019"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = f"created_at < {MOMENT} AND created_at < now() - interval '1 day'"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("account", "route", "key")),
        sa.Column("trace_id", sa.Uuid, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("status", sa.Integer),
        sa.Column("headers", JSONB),
        sa.Column("body", sa.LargeBinary),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("idempotency_keys_by_trace", "idempotency_keys", ["trace_id"], unique=True)
    op.create_index("idempotency_keys_by_time", "idempotency_keys", ["created_at"], postgresql_using="brin")
    op.execute("ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON idempotency_keys FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON idempotency_keys FOR SELECT USING ({PASSING})")
    op.execute(f"CREATE POLICY past_gone ON idempotency_keys FOR DELETE USING ({PASSING})")


def downgrade() -> None:
    """Remove it."""
    op.drop_table("idempotency_keys")
