"""What people decided of values that were set aside."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the decision: it alone may be changed of a value."""
    op.add_column("quarantine", sa.Column("settled", sa.Text))
    op.create_check_constraint("quarantine_settled", "quarantine", "settled IN ('accepted', 'dismissed')")
    op.execute(f"GRANT UPDATE (settled) ON quarantine TO {APP_ROLE}")


def downgrade() -> None:
    """Forget the decisions."""
    op.execute(f"REVOKE UPDATE (settled) ON quarantine FROM {APP_ROLE}")
    op.drop_constraint("quarantine_settled", "quarantine")
    op.drop_column("quarantine", "settled")
