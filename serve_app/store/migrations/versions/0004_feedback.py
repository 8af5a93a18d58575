"""What people say of an answer."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0004"
down_revision = "0003"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
# A model that all tenants share is trained on what all of them said.
LEARNING = "NULLIF(current_setting('hdx.learning', true), '') = 'all'"


def upgrade() -> None:
    """Make the table."""
    op.create_unique_constraint("diagnoses_own", "diagnoses", ["tenant_id", "trace_id"])
    op.create_table(
        "feedback",
        sa.Column("tenant_id", sa.Integer, primary_key=True),
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("component", sa.Text),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("note", "actor")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        # With the tenant in it: foreign keys are checked past row-level security.
        sa.ForeignKeyConstraint(
            ["tenant_id", "trace_id"], ["diagnoses.tenant_id", "diagnoses.trace_id"], ondelete="CASCADE"
        ),
        sa.CheckConstraint("verdict IN ('confirmed', 'false_alarm', 'missed')", "feedback_verdict"),
    )
    op.create_index("feedback_by_time", "feedback", ["created_at"])
    op.execute("ALTER TABLE feedback ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE feedback FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON feedback TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON feedback FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY learning ON feedback FOR SELECT USING ({LEARNING})")


def downgrade() -> None:
    """Remove it."""
    op.drop_table("feedback")
    op.drop_constraint("diagnoses_own", "diagnoses")
