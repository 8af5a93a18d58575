"""Answers to questions, each with what it cited, and what people say of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE

revision = "0018"
down_revision = "0017"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = f"created_at < {MOMENT} AND created_at < now() - interval '1 day'"
# What was answered is final; what is said of it can be said anew, and goes with it.
RIGHTS = {"answers": "SELECT, INSERT, DELETE", "answer_feedback": "SELECT, INSERT, UPDATE"}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "answers",
        sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("cited", JSONB, nullable=False),
        sa.Column("abstained", sa.Boolean, nullable=False),
        _created(),
    )
    op.create_index("answers_by_time", "answers", ["created_at"], postgresql_using="brin")
    op.create_table(
        "answer_feedback",
        sa.Column("tenant_id", sa.Integer, primary_key=True),
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("actor", "verdict", "comment")),
        _created(),
        # With the tenant in it: foreign keys are checked past row-level security.
        sa.ForeignKeyConstraint(
            ["tenant_id", "trace_id"], ["answers.tenant_id", "answers.trace_id"], ondelete="CASCADE"
        ),
        sa.CheckConstraint("verdict IN ('helped', 'wrong', 'missing')", "answer_feedback_verdict"),
    )
    op.create_index("answer_feedback_by_time", "answer_feedback", ["tenant_id", "created_at"])
    for table, rights in RIGHTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON answers FOR SELECT USING ({PASSING})")
    op.execute(f"CREATE POLICY past ON answers AS RESTRICTIVE FOR DELETE USING ({PASSING})")
    op.execute(f"CREATE POLICY past_gone ON answers FOR DELETE USING ({PASSING})")


def downgrade() -> None:
    """Remove them."""
    op.drop_table("answer_feedback")
    op.drop_table("answers")


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
