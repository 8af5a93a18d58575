"""Machine kinds that tenants define, with all their versions."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0008"
down_revision = "0007"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"


def upgrade() -> None:
    """Add the table; a version is written once and then only removed."""
    op.create_table(
        "families",
        sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("definition", "digest", "actor")),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute("ALTER TABLE families ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE families FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, UPDATE (removed_at) ON families TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON families FOR ALL USING ({OWN})")


def downgrade() -> None:
    """Remove it."""
    op.drop_table("families")
