"""The life of a system: commissioning, monitoring, maintenance; its normal by operating point; evidence for an alarm.

A system with a settled baseline is monitored from here on, every other one is commissioned.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from pipelines.machines.baseline import SETTLED, Baseline
from pipelines.machines.commissioning import Normal
from serve_app.store.tables import APP_ROLE

revision = "0007"
down_revision = "0006"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
SUMS = ("count", "total", "squares")
LIFE: tuple[sa.Column[object], ...] = (
    sa.Column("state", sa.Text, nullable=False, server_default="commissioning"),
    sa.Column("learned", sa.Integer, nullable=False, server_default="0"),
    sa.Column("commissioned_since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("limits", JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("evidence", sa.ARRAY(sa.Double), nullable=False, server_default=sa.text("'{}'")),
)
STATES = "state IN ('commissioning', 'monitoring', 'maintenance')"


def upgrade() -> None:
    """Add the columns, and put one row of bytes in the place of arrays."""
    for column in LIFE:
        op.add_column("systems", column.copy())
    op.create_check_constraint("systems_state", "systems", STATES)
    op.add_column("diagnoses", sa.Column("limits", JSONB))
    moment = sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    op.create_table("normals", *_keys(), sa.Column("content", sa.LargeBinary, nullable=False), moment, _own_system())
    with _unforced("baselines", "systems", "normals"):
        rows = op.get_bind().execute(
            sa.text("SELECT tenant_id, system_id, count, total, squares, origin FROM baselines")
        )
        for tenant_id, system_id, *sums in rows.all():
            _to_normal(tenant_id, system_id, sums)
    _secure("normals", "SELECT, INSERT, UPDATE, DELETE")
    op.drop_table("baselines")
    for function in ("hdx_centre", "hdx_fade", "hdx_merge"):
        op.execute(f"DROP FUNCTION {function}")


def downgrade() -> None:
    """Put the arrays back; of several operating points the first is kept."""
    _make_functions()
    arrays: list[sa.Column[list[float]]] = [sa.Column(name, sa.ARRAY(sa.Double), nullable=False) for name in SUMS]
    op.create_table("baselines", *_keys(), *arrays, sa.Column("origin", sa.ARRAY(sa.Double)), _own_system())
    with _unforced("baselines", "normals"):
        for tenant_id, system_id, content in (
            op.get_bind().execute(sa.text("SELECT tenant_id, system_id, content FROM normals")).all()
        ):
            _to_baseline(tenant_id, system_id, Normal.from_bytes(bytes(content)).points[0].baseline)
    _secure("baselines", "SELECT, INSERT, UPDATE")
    op.drop_table("normals")
    op.drop_column("diagnoses", "limits")
    op.drop_constraint("systems_state", "systems")
    for column in reversed(LIFE):
        op.drop_column("systems", column.name)


def _to_normal(tenant_id: int, system_id: int, sums: Sequence[Sequence[float] | None]) -> None:
    count, total, squares, origin = (None if values is None else np.array(values, dtype=np.float64) for values in sums)
    if count is None or total is None or squares is None:
        return
    windows = int(count.max(initial=0.0))
    content = Baseline(count, total, squares, origin).to_bytes()
    row = {"tenant": tenant_id, "system": system_id, "content": content, "windows": windows}
    settled = windows >= SETTLED
    if settled:
        op.get_bind().execute(
            sa.text("INSERT INTO normals (tenant_id, system_id, content) VALUES (:tenant, :system, :content)"), row
        )
    state = "monitoring" if settled else "commissioning"
    # One that had begun to learn counts on from the windows that it has stored.
    op.get_bind().execute(
        sa.text("UPDATE systems SET state = :state, learned = :windows WHERE system_id = :system"),
        row | {"state": state},
    )


def _to_baseline(tenant_id: int, system_id: int, baseline: Baseline) -> None:
    origin = None if baseline.origin is None else baseline.origin.tolist()
    row = {name: getattr(baseline, name).tolist() for name in SUMS} | {"tenant": tenant_id, "system": system_id}
    op.get_bind().execute(
        sa.text(
            "INSERT INTO baselines (tenant_id, system_id, count, total, squares, origin)"
            " VALUES (:tenant, :system, :count, :total, :squares, :origin)"
        ),
        row | {"origin": origin},
    )


@contextmanager
def _unforced(*tables: str) -> Iterator[None]:
    """Let the owner of tables see their rows, of all tenants, for as long as the block lasts."""
    for table in tables:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    for table in tables:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def _secure(table: str, rights: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")


def _make_functions() -> None:
    versions = "serve_app.store.migrations.versions"
    first, state = import_module(f"{versions}.0001_first"), import_module(f"{versions}.0002_state")
    for function in (first.MERGE, state.FADE, state.CENTRE):
        op.execute(function)


def _keys() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, primary_key=True) for name in ("tenant_id", "system_id")]


def _own_system() -> sa.ForeignKeyConstraint:
    # With the tenant in it: foreign keys are checked past row-level security.
    own = ["systems.tenant_id", "systems.system_id"]
    return sa.ForeignKeyConstraint(["tenant_id", "system_id"], own, ondelete="CASCADE")
