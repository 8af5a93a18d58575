"""A durable queue, how far the readings of each system are judged, and what happened to it.

The queue is procrastinate's own schema, apart from ours and closed to the application: it asks for work by one function
of the owner, which takes the tenant from the transaction and lets tenants take turns. Workers log in as the owner.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager

from serve_app.store.tables import APP_ROLE, QUEUE

revision = "0011"
down_revision = "0010"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = f"created_at < {MOMENT} AND created_at < now() - interval '1 day'"
RIGHTS = {
    "watches": "SELECT, INSERT, UPDATE",
    "events": "SELECT, INSERT, DELETE",
}
# Work of the same name that waits already sees what this transaction writes: it is held until it commits, as a worker
# passes over what is locked. The more of a tenant waits the later more of it comes, by a second each, so that tenants
# take turns and none waits for ever.
DEFER = f"""
CREATE FUNCTION hdx_defer(task text, once text, given jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {QUEUE}, pg_catalog, pg_temp AS $$
DECLARE
    tenant integer := NULLIF(current_setting('hdx.tenant', true), '')::integer;
    name text := task || ':' || tenant || ':' || once;
    waiting integer;
    age integer := extract(epoch FROM now() - timestamptz '2026-01-01 00:00+00');
    job bigint;
BEGIN
    IF name IS NULL OR task NOT IN ('watch', 'job') THEN
        RAISE EXCEPTION 'hdx_defer: % is no work of a tenant', task USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        SELECT id INTO job FROM procrastinate_jobs WHERE queueing_lock = name AND status = 'todo' FOR SHARE;
        IF job IS NOT NULL THEN
            RETURN job;
        END IF;
        SELECT count(*) INTO waiting FROM (
            SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND args ->> 'tenant_id' = tenant::text LIMIT 10000
        ) AS known;
        BEGIN
            RETURN (procrastinate_defer_jobs_v1(ARRAY[
                ROW('hdx', task, -age - waiting, name, name, given || jsonb_build_object('tenant_id', tenant), NULL)
                    ::procrastinate_job_to_defer_v1
            ]))[1];
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- somebody else was first
        END;
    END LOOP;
END $$
"""  # noqa: S608 (constants)


def upgrade() -> None:
    """Make the queue, then tables and columns."""
    _in_queue((f"CREATE SCHEMA {QUEUE}",), SchemaManager.get_schema())
    op.execute(
        f"CREATE INDEX hdx_jobs_by_tenant ON {QUEUE}.procrastinate_jobs ((args ->> 'tenant_id')) WHERE status = 'todo'"
    )
    op.execute(DEFER)
    op.execute("REVOKE ALL ON FUNCTION hdx_defer(text, text, jsonb) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION hdx_defer(text, text, jsonb) TO {APP_ROLE}")
    op.add_column("diagnoses", sa.Column("window_end", sa.DateTime(timezone=True)))
    op.add_column("diagnoses", sa.Column("late", sa.Boolean, nullable=False, server_default="false"))
    op.create_table(
        "watches",
        *_of_system(),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False)
            for name in ("read_until", "judged_until", "due")
        ),
        *(sa.Column(name, sa.DateTime(timezone=True)) for name in ("late_from", "late_to", "again_from", "again_to")),
        _own_system(),
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.BigInteger, sa.Identity(), primary_key=True),
        *_of_system(primary_key=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "text")),
        sa.Column("trace_id", sa.Uuid),
        _created(),
        _own_system(),
    )
    op.create_index("events_by_system", "events", ["tenant_id", "system_id", "event_id"])
    op.create_index("events_by_time", "events", ["created_at"], postgresql_using="brin")
    for table, rights in RIGHTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON events FOR SELECT USING ({PASSING})")
    op.execute(f"CREATE POLICY past ON events AS RESTRICTIVE FOR DELETE USING ({PASSING})")
    op.execute(f"CREATE POLICY past_gone ON events FOR DELETE USING ({PASSING})")


def downgrade() -> None:
    """Remove them, with all work that waits."""
    for table in RIGHTS:
        op.drop_table(table)
    for column in ("window_end", "late"):
        op.drop_column("diagnoses", column)
    op.execute("DROP FUNCTION hdx_defer")
    op.execute(f"DROP SCHEMA {QUEUE} CASCADE")


def _in_queue(before: Sequence[str], script: str) -> None:
    """Run the library's script as it stands, where its names are found."""
    connection: Any = op.get_bind().connection.driver_connection
    with connection.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        path = cursor.execute("SHOW search_path").fetchone()[0]
        cursor.execute(f"SET LOCAL search_path = {QUEUE}")
        cursor.execute(script)
        cursor.execute(f"SET LOCAL search_path = {path}")


def _of_system(primary_key: bool = True) -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.Integer, primary_key=primary_key, autoincrement=False, nullable=False)
        for name in ("tenant_id", "system_id")
    ]


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _own_system() -> sa.ForeignKeyConstraint:
    # With the tenant in it: foreign keys are checked past row-level security.
    own = ["systems.tenant_id", "systems.system_id"]
    return sa.ForeignKeyConstraint(["tenant_id", "system_id"], own, ondelete="CASCADE")
