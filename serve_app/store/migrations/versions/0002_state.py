"""A system's alarm state, and baselines that fade and remember where they began."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Beyond the memory of a baseline all of its sums shrink alike, so its means stay what they are.
FADE = """
CREATE FUNCTION hdx_fade(sums double precision[], count double precision[], memory double precision)
RETURNS double precision[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(
        SELECT s * least(1, memory / greatest(c, 1))
        FROM unnest(sums, count) WITH ORDINALITY AS pair(s, c, place) ORDER BY place
    )
$$
"""
CENTRE = """
CREATE FUNCTION hdx_centre(count double precision[], total double precision[], least_count double precision)
RETURNS double precision[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN (SELECT max(c) FROM unnest(count) AS c) >= least_count THEN ARRAY(
        SELECT t / nullif(c, 0) FROM unnest(count, total) WITH ORDINALITY AS pair(c, t, place) ORDER BY place
    ) END
$$
"""


def upgrade() -> None:
    """Add state and origin."""
    op.add_column("systems", sa.Column("alarm", sa.Boolean, nullable=False, server_default="false"))
    op.add_column("baselines", sa.Column("origin", sa.ARRAY(sa.Double)))
    op.execute(FADE)
    op.execute(CENTRE)


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP FUNCTION hdx_centre")
    op.execute("DROP FUNCTION hdx_fade")
    op.drop_column("baselines", "origin")
    op.drop_column("systems", "alarm")
