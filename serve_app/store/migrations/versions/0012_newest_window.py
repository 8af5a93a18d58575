"""When the last window of a system's stored readings ended that was judged."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the moment; systems that are there have judged none."""
    op.add_column("systems", sa.Column("judged_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("systems", "judged_until")
