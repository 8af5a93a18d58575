"""Jobs: work that takes longer than a request, with what was sent for it until it has ended.

Jobs that have long not come further, and parts that belong to none, are shown of all tenants to who looks after them.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE, QUEUE

revision = "0015"
down_revision = "0014"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
MOMENT = "NULLIF(current_setting('hdx.past', true), '')::timestamptz"
PASSING = f"created_at < {MOMENT} AND created_at < now() - interval '1 day'"
MENDING = "current_setting('hdx.jobs', true) = 'all'"
LOOKED_AFTER = f"{MENDING} AND state IN ('queued', 'running')"
# Of a file that broke off, or of a job that has ended: no policy shows one that has ended to whoever looks after all.
BELONGS = "EXISTS (SELECT 1 FROM jobs WHERE jobs.job_id = job_parts.job_id)"
ORPHANED = f"{MENDING} AND created_at < now() - interval '1 hour' AND NOT {BELONGS}"
RIGHTS = {"jobs": "SELECT, INSERT, UPDATE, DELETE", "job_parts": "SELECT, INSERT, DELETE"}
# Each kind of work has a queue of its own, so that none takes the other's place. Of those who have files that take long
# the second one of a tenant comes as much later as one may take.
FILE_S = 600
DEFER = f"""
CREATE OR REPLACE FUNCTION hdx_defer(task text, once text, given jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {QUEUE}, pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    tenant integer := NULLIF(current_setting('hdx.tenant', true), '')::integer;
    name text := task || ':' || tenant || ':' || once;
    queue text := CASE task WHEN 'watch' THEN 'hdx' ELSE 'hdx-' || task END;
    later integer;
    age integer := extract(epoch FROM now() - timestamptz '2026-01-01 00:00+00');
    job bigint;
BEGIN
    IF name IS NULL OR task NOT IN ('watch', 'job', 'file') THEN
        RAISE EXCEPTION 'hdx_defer: % is no work of a tenant', task USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        SELECT id INTO job FROM procrastinate_jobs WHERE queueing_lock = name AND status = 'todo' FOR SHARE;
        IF job IS NOT NULL THEN
            RETURN job;
        END IF;
        IF task = 'file' THEN
            SELECT {FILE_S} * count(*) INTO later FROM public.jobs open
            WHERE open.tenant_id = tenant AND open.task = 'file' AND open.state IN ('queued', 'running')
                AND open.job_id::text <> once;
        ELSE
            SELECT count(*) INTO later FROM (
                SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND args ->> 'tenant_id' = tenant::text
                LIMIT 10000
            ) AS known;
        END IF;
        BEGIN
            RETURN (procrastinate_defer_jobs_v1(ARRAY[
                ROW(queue, task, -age - later, name, name, given || jsonb_build_object('tenant_id', tenant), NULL)
                    ::procrastinate_job_to_defer_v1
            ]))[1];
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- somebody else was first
        END;
    END LOOP;
END $$
"""  # noqa: S608 (constants)


def upgrade() -> None:
    """Make the tables, and a queue for each kind of work."""
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Uuid, primary_key=True),
        _tenant(),
        sa.Column("number", sa.BigInteger, sa.Identity(), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "state")),
        sa.Column("system_id", sa.Integer, nullable=False),
        sa.Column("given", JSONB, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total", sa.BigInteger),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in ("piece", "pieces", "attempts")),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("report", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("created_by", sa.Text, nullable=False),
        *map(_moment, ("created_at", "updated_at", "due")),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", "jobs_state"),
        sa.CheckConstraint("task IN ('job', 'file')", "jobs_task"),
    )
    op.create_index("jobs_by_tenant", "jobs", ["tenant_id", "number"])
    op.create_index("jobs_by_time", "jobs", ["created_at"])
    op.create_index("jobs_open", "jobs", ["due"], postgresql_where="state IN ('queued', 'running')")
    op.create_table(
        "job_parts",
        _tenant(primary_key=True),
        sa.Column("job_id", sa.Uuid, primary_key=True),
        sa.Column("stage", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        _moment("created_at"),
        sa.CheckConstraint("stage IN ('file', 'rows')", "job_parts_stage"),
    )
    op.create_index("job_parts_by_time", "job_parts", ["created_at"], postgresql_using="brin")
    # As it is: what is packed gains nothing by being packed again, and the rest is gone soon.
    op.execute("ALTER TABLE job_parts ALTER COLUMN content SET STORAGE EXTERNAL")
    op.execute(DEFER)
    for table, rights in RIGHTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY past_seen ON jobs FOR SELECT USING ({PASSING})")
    op.execute(f"CREATE POLICY past ON jobs AS RESTRICTIVE FOR DELETE USING ({PASSING})")
    op.execute(f"CREATE POLICY past_gone ON jobs FOR DELETE USING ({PASSING})")
    op.execute(f"CREATE POLICY looked_after ON jobs FOR SELECT USING ({LOOKED_AFTER})")
    op.execute(f"CREATE POLICY orphaned_seen ON job_parts FOR SELECT USING ({ORPHANED})")
    op.execute(f"CREATE POLICY orphaned_gone ON job_parts FOR DELETE USING ({ORPHANED})")


def downgrade() -> None:
    """Remove them; what waits in their queues is taken by nobody."""
    before = import_module("serve_app.store.migrations.versions.0011_queue_and_watching")
    op.execute(before.DEFER.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.drop_table("job_parts")
    op.drop_table("jobs")


def _tenant(primary_key: bool = False) -> sa.Column[int]:
    own = sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE")
    return sa.Column("tenant_id", sa.Integer, own, primary_key=primary_key, autoincrement=False, nullable=False)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
