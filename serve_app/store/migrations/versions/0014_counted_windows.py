"""Which diagnoses count for their systems, and systems that are overdue are looked at again."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

# A look that failed to the end, or found readings of a clock that ran ahead, is asked for again by the worker.
OVERDUE = """
CREATE FUNCTION hdx_watch_overdue() RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    late record;
    asked bigint := 0;
BEGIN
    FOR late IN
        SELECT tenant_id, system_id FROM watches
        WHERE late_from IS NOT NULL OR again_from IS NOT NULL OR due <= least(newest, now())
        ORDER BY random() LIMIT 200
    LOOP
        PERFORM set_config('hdx.tenant', late.tenant_id::text, true);
        PERFORM hdx_defer('watch', late.system_id::text, jsonb_build_object('system_id', late.system_id));
        asked := asked + 1;
    END LOOP;
    RETURN asked;
END $$
"""


def upgrade() -> None:
    """Add the columns; windows that are there count, but for those that were judged again."""
    op.add_column("diagnoses", sa.Column("counted", sa.Boolean, nullable=False, server_default="true"))
    op.add_column("watches", sa.Column("newest", sa.DateTime(timezone=True)))
    op.execute(
        "CREATE INDEX diagnoses_by_end ON diagnoses (tenant_id, system_id, window_end) WHERE window_end IS NOT NULL"
    )
    op.execute(OVERDUE)
    op.execute("REVOKE ALL ON FUNCTION hdx_watch_overdue() FROM PUBLIC")
    op.execute("CREATE POLICY overdue ON watches FOR SELECT TO CURRENT_USER USING (true)")


def downgrade() -> None:
    """Forget them."""
    op.execute("DROP POLICY overdue ON watches")
    op.execute("DROP FUNCTION hdx_watch_overdue()")
    op.drop_index("diagnoses_by_end")
    op.drop_column("watches", "newest")
    op.drop_column("diagnoses", "counted")
