"""What machines send: readings by day with summaries by minute, hour and day, and what is no good reading, set aside.

The application owns no table, so that days are made and dropped by two functions of the owner; what they take is
bounded, whoever calls them.
"""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0009"
down_revision = "0008"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = f"created_at < {MOMENT} AND created_at < now() - interval '1 day'"
BY_DAY = ("readings", "rollups")
RIGHTS = {
    "readings": "SELECT, INSERT, UPDATE",
    "rollups": "SELECT, INSERT, UPDATE",
    "quarantine": "SELECT, INSERT, DELETE",
}
# One maker at a time by 4736089, any number that nobody else on this database takes. Systems are locked first, as by
# whoever deletes one with its readings.
MAKE = """
CREATE FUNCTION hdx_make_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent text;
    part text;
BEGIN
    IF day IS NULL OR day < DATE '2000-01-01' OR day > (now() AT TIME ZONE 'UTC')::date + 2 THEN
        RAISE EXCEPTION 'hdx_make_day: % is not between 2000 and the day after tomorrow', day
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM pg_advisory_xact_lock(4736089);
    IF to_regclass('public.rollups' || to_char(day, '_YYYYMMDD')) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE public.systems IN SHARE ROW EXCLUSIVE MODE;
    FOREACH parent IN ARRAY ARRAY['readings', 'rollups'] LOOP
        part := parent || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', part, parent);
        -- With no policy of its own: its rows are reached through the parent, by the parent's policies.
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('COMMENT ON TABLE public.%I IS %L', part, 'made ' || now());
        -- Made first and attached then, which lets others read and write the parent meanwhile.
        EXECUTE format(
            'ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            parent, part, day || ' 00:00+00', day + 1 || ' 00:00+00'
        );
    END LOOP;
END $$
"""
# A day goes when it is past and was made before the moment, too: what is sent late is kept as long as any other.
DROP = """
CREATE FUNCTION hdx_drop_days(past timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    part record;
    gone integer := 0;
BEGIN
    IF past IS NULL OR past > now() - interval '1 day' THEN
        RAISE EXCEPTION 'hdx_drop_days: % is not a day ago', past USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM pg_advisory_xact_lock(4736089);
    FOR part IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent IN ('public.readings'::regclass, 'public.rollups'::regclass)
            AND to_date(right(child.relname, 8), 'YYYYMMDD') + 1 <= (past AT TIME ZONE 'UTC')::date
            AND substring(obj_description(child.oid, 'pg_class') FROM 'made (.*)')::timestamptz < past
        ORDER BY right(child.relname, 8), child.relname LIMIT most
    LOOP
        EXECUTE format('DROP TABLE public.%I', part.relname);
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$
"""


def upgrade() -> None:
    """Make tables and functions; the first day is made by whoever stores the first reading of it."""
    op.create_table(
        "readings",
        *_key(),
        sa.Column("value", sa.Double, nullable=False),
        _own_system(),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("readings_by_time", "readings", ["at"], postgresql_using="brin")
    ends: list[sa.Column[list[float]]] = [
        sa.Column(name, sa.ARRAY(sa.Double), nullable=False) for name in ("least", "greatest", "first", "last")
    ]
    op.create_table(
        "rollups",
        *_key(sa.Column("step_s", sa.Integer, primary_key=True)),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Double, nullable=False),
        *ends,
        _own_system(),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.BigInteger, sa.Identity(), nullable=False),
        *_key(),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("value", "reason")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        _own_system(),
    )
    op.create_index("quarantine_by_system", "quarantine", ["tenant_id", "system_id", "quarantine_id"])
    op.create_index("quarantine_by_time", "quarantine", ["created_at"], postgresql_using="brin")
    for table, rights in RIGHTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON quarantine FOR SELECT USING ({PASSING})")
    op.execute(f"CREATE POLICY past ON quarantine AS RESTRICTIVE FOR DELETE USING ({PASSING})")
    op.execute(f"CREATE POLICY past_gone ON quarantine FOR DELETE USING ({PASSING})")
    for text, signature in ((MAKE, "hdx_make_day(date)"), (DROP, "hdx_drop_days(timestamptz, integer)")):
        op.execute(text)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {APP_ROLE}")


def downgrade() -> None:
    """Remove them, with every day."""
    op.execute("DROP FUNCTION hdx_make_day")
    op.execute("DROP FUNCTION hdx_drop_days")
    for table in RIGHTS:
        op.drop_table(table)


def _key(*more: sa.Column[int]) -> list[sa.Column[object]]:
    numbers: list[sa.Column[object]] = [
        sa.Column(name, sa.Integer, primary_key=True, autoincrement=False) for name in ("tenant_id", "system_id")
    ]
    at: sa.Column[object] = sa.Column("at", sa.DateTime(timezone=True), primary_key=True)
    return [*numbers, *more, sa.Column("channel", sa.Text, primary_key=True), at]  # type: ignore[list-item]


def _own_system() -> sa.ForeignKeyConstraint:
    # With the tenant in it: foreign keys are checked past row-level security.
    own = ["systems.tenant_id", "systems.system_id"]
    return sa.ForeignKeyConstraint(["tenant_id", "system_id"], own, ondelete="CASCADE")
