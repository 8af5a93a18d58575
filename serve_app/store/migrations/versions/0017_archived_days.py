"""Days of readings that were archived: which file holds them, and whether it holds all; and late windows told once.

A day is dropped by a function of the owner, which sees to it that nothing goes that no file holds. The owner sees for
that which systems have readings of a day, and what is archived of them, whatever the tenant.
"""

from importlib import import_module
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0017"
down_revision = "0016"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
CLEARING = "NULLIF(current_setting('hdx.past', true), '') IS NOT NULL"
GONE = f"{CLEARING} AND gone_at < now() - interval '1 day'"
# Of the name of its table; of another one it is null, as the server may look at those first.
DAY = "to_date(substring(child.relname FROM '_([0-9]{8})$'), 'YYYYMMDD')"
# A day goes when it is past and was made before the moment, too: what is sent late is kept as long as any other.
PAST = f"""
CREATE FUNCTION hdx_past_days(past timestamptz) RETURNS SETOF date
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT {DAY} AS day
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent IN ('public.readings'::regclass, 'public.rollups'::regclass) GROUP BY 1
    HAVING {DAY} + 1 <= (past AT TIME ZONE 'UTC')::date AND bool_and(coalesce(
        substring(obj_description(child.oid, 'pg_class') FROM 'made (.*)')::timestamptz < past, false))
    ORDER BY 1
$$
"""  # noqa: S608 (constants)
# From one system to the next by the index, past the rows between them. The day stands in the text of the query, so that
# no other day's table is planned with, or locked.
SYSTEMS = """
CREATE FUNCTION hdx_day_systems(day date) RETURNS TABLE (tenant_id integer, system_id integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE replace(replace($query$
        WITH RECURSIVE own AS (
            (SELECT r.tenant_id, r.system_id FROM public.rollups r WHERE r.at >= 'BEGIN' AND r.at < 'END'
                ORDER BY 1, 2 LIMIT 1)
            UNION ALL
            SELECT following.* FROM own, LATERAL (
                SELECT r.tenant_id, r.system_id FROM public.rollups r WHERE r.at >= 'BEGIN' AND r.at < 'END'
                    AND (r.tenant_id, r.system_id) > (own.tenant_id, own.system_id) ORDER BY 1, 2 LIMIT 1
            ) AS following
        ) SELECT * FROM own
    $query$, 'BEGIN', day || ' 00:00+00'), 'END', day + 1 || ' 00:00+00');
END $$
"""
# Nobody writes to the day while it is looked whether all of it is archived.
DROP = """
CREATE FUNCTION hdx_drop_day(day date, past timestamptz, archived boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    parent text;
BEGIN
    IF past IS NULL OR past > now() - interval '1 day' THEN
        RAISE EXCEPTION 'hdx_drop_day: % is not a day ago', past USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM pg_advisory_xact_lock(4736089);
    IF day NOT IN (SELECT hdx_past_days(past)) THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY public.readings, ONLY public.rollups IN ACCESS EXCLUSIVE MODE;
    IF archived AND EXISTS (
        SELECT FROM hdx_day_systems(day) AS own WHERE NOT EXISTS (
            SELECT FROM public.archived_days kept WHERE kept.tenant_id = own.tenant_id
                AND kept.system_id = own.system_id AND kept.day = day AND kept.held = kept.version
        )
    ) THEN
        RETURN false;
    END IF;
    UPDATE public.archived_days kept SET dropped = true WHERE kept.day = day AND kept.held IS NOT NULL;
    FOREACH parent IN ARRAY ARRAY['readings', 'rollups'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I', parent || to_char(day, '_YYYYMMDD'));
    END LOOP;
    RETURN true;
END $$
"""
FUNCTIONS = {
    "hdx_past_days(timestamptz)": PAST,
    "hdx_day_systems(date)": SYSTEMS,
    "hdx_drop_day(date, timestamptz, boolean)": DROP,
}


def upgrade() -> None:
    """Make the table, and let days go one by one, once they are archived."""
    op.create_table(
        "archived_days",
        *(sa.Column(name, sa.Integer, primary_key=True, autoincrement=False) for name in ("tenant_id", "system_id")),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("held", sa.Integer),
        sa.Column("file", sa.Text),
        sa.Column("dropped", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("gone_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("(held IS NULL) = (file IS NULL)", "archived_days_file"),
    )
    op.create_index("archived_days_by_day", "archived_days", ["day"])
    op.execute("ALTER TABLE archived_days ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE archived_days FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON archived_days TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON archived_days FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON archived_days FOR SELECT USING ({CLEARING})")
    op.execute(f"CREATE POLICY past ON archived_days AS RESTRICTIVE FOR DELETE USING ({GONE})")
    op.execute(f"CREATE POLICY past_gone ON archived_days FOR DELETE USING ({GONE})")
    op.execute("CREATE POLICY dropping ON archived_days TO CURRENT_USER USING (true)")
    op.execute("CREATE POLICY dropping ON rollups FOR SELECT TO CURRENT_USER USING (true)")
    # A copy of the database knows the archive of the one it was made of; another database has one of its own.
    op.execute(f"CREATE FUNCTION hdx_archive() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '{uuid4().hex}' $$")
    op.execute("DROP FUNCTION hdx_drop_days")
    for signature, definition in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {APP_ROLE}")
    before = import_module("serve_app.store.migrations.versions.0010_readings_in_bulk")
    op.execute(_replacing(before.MAKE).replace("to_date(right(child.relname, 8), 'YYYYMMDD')", DAY))
    also = (
        "UPDATE public.archived_days SET gone_at = now() WHERE tenant_id = OLD.tenant_id AND system_id = OLD.system_id;"
    )
    op.execute(_replacing(before.GONE).replace("    RETURN NULL;", f"    {also}\n    RETURN NULL;"))
    op.add_column("watches", sa.Column("late_told", sa.Boolean, nullable=False, server_default="false"))


def downgrade() -> None:
    """Forget what was archived; its files stay."""
    op.drop_column("watches", "late_told")
    op.execute(_replacing(import_module("serve_app.store.migrations.versions.0010_readings_in_bulk").GONE))
    for signature in ("hdx_archive()", *reversed(FUNCTIONS)):
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP POLICY dropping ON rollups")
    op.drop_table("archived_days")
    op.execute(import_module("serve_app.store.migrations.versions.0009_readings").DROP)
    signature = "hdx_drop_days(timestamptz, integer)"
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {APP_ROLE}")


def _replacing(definition: str) -> str:
    return definition.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
