"""What an answer followed from beside its window, and an audit of the models, which are no tenant's."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE

revision = "0005"
down_revision = "0004"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
# A model that all tenants share is tried on what it answered to all of them; nothing of that leaves the process.
LEARNING = "NULLIF(current_setting('hdx.learning', true), '') = 'all'"
PLATFORM = "tenant_id IS NULL AND NULLIF(current_setting('hdx.platform', true), '') = 'on'"


def upgrade() -> None:
    """Add the columns and the policy."""
    op.add_column("diagnoses", sa.Column("alarm", sa.Boolean))
    op.add_column("diagnoses", sa.Column("baseline", sa.LargeBinary))
    op.create_table(
        "consulted",
        sa.Column("tenant_id", sa.Integer, primary_key=True),
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        sa.Column("passages", JSONB, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "trace_id"], ["diagnoses.tenant_id", "diagnoses.trace_id"], ondelete="CASCADE"
        ),
    )
    op.execute("ALTER TABLE consulted ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE consulted FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT ON consulted TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON consulted FOR ALL USING ({OWN})")
    op.create_index("diagnoses_by_time", "diagnoses", ["created_at"])
    op.execute(f"CREATE POLICY learning ON diagnoses FOR SELECT USING ({LEARNING})")
    op.alter_column("audit", "tenant_id", nullable=True)
    op.execute(f"CREATE POLICY platform ON audit FOR ALL USING ({PLATFORM}) WITH CHECK ({PLATFORM})")


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP POLICY platform ON audit")
    op.execute("DROP POLICY learning ON diagnoses")
    op.drop_index("diagnoses_by_time", "diagnoses")
    op.execute("DELETE FROM audit WHERE tenant_id IS NULL")
    op.alter_column("audit", "tenant_id", nullable=False)
    op.drop_table("consulted")
    op.drop_column("diagnoses", "baseline")
    op.drop_column("diagnoses", "alarm")
