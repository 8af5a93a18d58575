"""First step of the database: all tables, the role that owns nothing, row-level security.

Exists so that a tenant's rows stay its own even where a query forgets to ask.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE

revision = "0001"
down_revision = None

ISOLATED = ("users", "api_keys", "systems", "baselines", "diagnoses", "audit")
READ_AT_LOGIN = ("users", "api_keys")
MERGE = """
CREATE FUNCTION hdx_merge(same boolean, kept double precision[], fresh double precision[])
RETURNS double precision[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN same THEN ARRAY(
        SELECT a + b FROM unnest(kept, fresh) WITH ORDINALITY AS pair(a, b, place) ORDER BY place
    ) ELSE fresh END
$$
"""


def upgrade() -> None:
    """Make everything."""
    _role()
    _accounts()
    _machines()
    op.execute(MERGE)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP_ROLE}")
    op.execute(f"REVOKE ALL ON alembic_version FROM {APP_ROLE}")
    op.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE}")
    for table in ISOLATED:
        _isolate(table)


def downgrade() -> None:
    """Remove all tables; the role stays, since other databases of the server may use it."""
    op.execute("DROP FUNCTION hdx_merge")
    tables = ("audit", "diagnoses", "baselines", "systems", "api_keys", "refresh_tokens", "users", "tenants")
    for table in tables:
        op.drop_table(table)


def _role() -> None:
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {APP_ROLE} NOLOGIN NOINHERIT;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    op.execute(f"GRANT {APP_ROLE} TO CURRENT_USER")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}")


def _isolate(table: str) -> None:
    own = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_tenant ON {table} USING ({own}) WITH CHECK ({own})")
    if table in READ_AT_LOGIN:
        # Before log-in there is no tenant yet; the row that a credential names may be read, and nothing written.
        op.execute(f"CREATE POLICY log_in ON {table} FOR SELECT USING (current_setting('hdx.login', true) = 'on')")


def _tenant() -> sa.Column[int]:
    key = sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE")
    return sa.Column("tenant_id", sa.Integer, key, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _time(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)  # type: ignore[arg-type]


def _created() -> sa.Column[object]:
    return _time("created_at", nullable=False, server_default=sa.func.now())


def _accounts() -> None:
    number = sa.Integer
    key = sa.Column("tenant_id", number, sa.Identity(), primary_key=True)
    op.create_table("tenants", key, sa.Column("name", sa.Text, nullable=False, unique=True), _created())
    op.create_table(
        "users",
        sa.Column("user_id", number, sa.Identity(), primary_key=True),
        _tenant(),
        *map(_text, ("username", "email", "password_hash", "role")),
        sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
        _created(),
    )
    for column in ("username", "email"):
        op.create_index(f"users_{column}", "users", [sa.func.lower(sa.column(column))], unique=True)
    op.create_table(
        "refresh_tokens",
        sa.Column("token_id", sa.Uuid, primary_key=True),
        sa.Column("family", sa.Uuid, nullable=False, index=True),
        sa.Column("user_id", number, sa.ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
        _time("expires_at", nullable=False),
        _time("used_at"),
        _time("revoked_at"),
        _created(),
    )
    op.create_table(
        "api_keys",
        sa.Column("sha256", sa.LargeBinary, primary_key=True),
        _tenant(),
        *map(_text, ("name", "role")),
        _created(),
    )


def _machines() -> None:
    def system(primary_key: bool = False) -> sa.Column[int]:
        return sa.Column("system_id", sa.Integer, primary_key=primary_key, nullable=False)

    def own_system() -> sa.ForeignKeyConstraint:
        # Foreign keys are checked without row-level security: the tenant must be part of the key.
        columns = ["tenant_id", "system_id"]
        return sa.ForeignKeyConstraint(columns, [f"systems.{name}" for name in columns], ondelete="CASCADE")

    op.create_table(
        "systems",
        sa.Column("system_id", sa.Integer, sa.Identity(), primary_key=True),
        _tenant(),
        *map(_text, ("name", "family", "description")),
        _created(),
        sa.UniqueConstraint("tenant_id", "system_id"),
    )
    sums: list[sa.Column[list[float]]] = [
        sa.Column(name, sa.ARRAY(sa.Double), nullable=False) for name in ("count", "total", "squares")
    ]
    op.create_table("baselines", system(primary_key=True), _tenant(), *sums, own_system())
    op.create_table(
        "diagnoses",
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        _tenant(),
        system(),
        _text("family"),
        sa.Column("window", JSONB, nullable=False),
        sa.Column("answer", JSONB, nullable=False),
        _created(),
        own_system(),
    )
    op.create_index("diagnoses_by_system", "diagnoses", ["system_id", "created_at"])
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger, sa.Identity(), primary_key=True),
        _tenant(),
        *map(_text, ("actor", "action", "subject", "detail")),
        _created(),
    )
