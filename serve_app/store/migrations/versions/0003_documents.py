"""The documents of a tenant, from upload to removal; what was accepted is indexed, whoever dies on the way."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0003"
down_revision = "0002"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
# Whoever indexes learns of work in all tenants, and then does each piece as its tenant.
WAITING = "NULLIF(current_setting('hdx.waiting', true), '') = 'all' AND state IN ('queued', 'indexing', 'removing')"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "documents",
        sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("document_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("name", "sha256", "state", "reason", "title")),
        sa.Column("language", sa.Text),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("bytes", "passages", "flagged", "attempts")),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("pages", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("state IN ('queued', 'indexing', 'ready', 'failed', 'removing')", "documents_state"),
    )
    op.create_index("documents_waiting", "documents", ["created_at"], postgresql_where=sa.text("state <> 'ready'"))
    op.execute("ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE documents FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON documents TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON documents FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY waiting ON documents FOR SELECT USING ({WAITING})")


def downgrade() -> None:
    """Remove it."""
    op.drop_table("documents")
