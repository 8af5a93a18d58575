"""Readings by the thousand: no check of each row's system, and a bound on the tables of old days.

Whoever writes readings locks their system; one that is deleted takes its readings along by a trigger. A foreign key did
both, at the cost of a look-up a row.
"""

from importlib import import_module

from alembic import op

revision = "0010"
down_revision = "0009"

BY_DAY = ("readings", "rollups")
# Days before `RECENT` are made for one tenant up to `OWN`, for all up to `ALL`: whoever reads over them opens each.
# Source: own choice; a year of history that a tenant brings along, beside the days that are kept by default.
RECENT, OWN, ALL = 400, 400, 1200
MAKE = f"""
CREATE OR REPLACE FUNCTION hdx_make_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent text;
    part text;
    today date := (now() AT TIME ZONE 'UTC')::date;
    maker text := 'tenant ' || coalesce(current_setting('hdx.tenant', true), '') || ', ';
    own integer;
    whole integer;
BEGIN
    IF day IS NULL OR day < DATE '2000-01-01' OR day > today + 2 THEN
        RAISE EXCEPTION 'hdx_make_day: % is not between 2000 and the day after tomorrow', day
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM pg_advisory_xact_lock(4736089);
    IF to_regclass('public.rollups' || to_char(day, '_YYYYMMDD')) IS NOT NULL THEN
        RETURN;
    END IF;
    IF day < today - {RECENT} THEN
        SELECT count(*) FILTER (WHERE starts_with(obj_description(child.oid, 'pg_class'), maker)), count(*)
        INTO own, whole FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent = 'public.rollups'::regclass
            AND to_date(right(child.relname, 8), 'YYYYMMDD') < today - {RECENT};
        IF own >= {OWN} OR whole >= {ALL} THEN
            RAISE EXCEPTION 'hdx_make_day: too many days of more than {RECENT} days ago: % of % own, % of % of all',
                own, {OWN}, whole, {ALL} USING ERRCODE = 'program_limit_exceeded';
        END IF;
    END IF;
    FOREACH parent IN ARRAY ARRAY['readings', 'rollups'] LOOP
        part := parent || to_char(day, '_YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)', part, parent);
        -- With no policy of its own: its rows are reached through the parent, by the parent's policies.
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('COMMENT ON TABLE public.%I IS %L', part, maker || 'made ' || now());
        -- Made first and attached then, which lets others read and write the parent meanwhile.
        EXECUTE format(
            'ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            parent, part, day || ' 00:00+00', day + 1 || ' 00:00+00'
        );
    END LOOP;
END $$
"""  # noqa: S608 (constants)
# In the name of the tenant whose system it is, whoever deletes it: security by row binds the owner, too.
GONE = """
CREATE FUNCTION hdx_system_gone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before text := coalesce(current_setting('hdx.tenant', true), '');
BEGIN
    PERFORM set_config('hdx.tenant', OLD.tenant_id::text, true);
    DELETE FROM public.readings WHERE tenant_id = OLD.tenant_id AND system_id = OLD.system_id;
    DELETE FROM public.rollups WHERE tenant_id = OLD.tenant_id AND system_id = OLD.system_id;
    PERFORM set_config('hdx.tenant', before, true);
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Take the foreign keys away, and see to it that a system still takes its readings along."""
    for table in BY_DAY:
        op.drop_constraint(f"{table}_tenant_id_system_id_fkey", table, type_="foreignkey")
    op.execute(MAKE)
    op.execute(GONE)
    op.execute("REVOKE ALL ON FUNCTION hdx_system_gone() FROM PUBLIC")
    op.execute("CREATE TRIGGER readings_go AFTER DELETE ON systems FOR EACH ROW EXECUTE FUNCTION hdx_system_gone()")


def downgrade() -> None:
    """Check each row's system again."""
    op.execute("DROP TRIGGER readings_go ON systems")
    op.execute("DROP FUNCTION hdx_system_gone")
    op.execute("DROP FUNCTION hdx_make_day")
    before = import_module("serve_app.store.migrations.versions.0009_readings")
    op.execute(before.MAKE)
    op.execute("REVOKE ALL ON FUNCTION hdx_make_day(date) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION hdx_make_day(date) TO {before.APP_ROLE}")
    own = ["tenant_id", "system_id"]
    for table in BY_DAY:
        name = f"{table}_tenant_id_system_id_fkey"
        op.create_foreign_key(name, table, "systems", own, own, ondelete="CASCADE")
