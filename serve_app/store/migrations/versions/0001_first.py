"""All tables, the role that owns nothing, and row-level security, which keeps a tenant's rows its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from serve_app.store.tables import APP_ROLE

revision = "0001"
down_revision = None

# The least that the application does; an audit note is never changed, nor is an answer that was given.
RIGHTS = {
    "tenants": "SELECT, INSERT, UPDATE",
    "users": "SELECT, INSERT, UPDATE",
    "refresh_tokens": "SELECT, INSERT, UPDATE",
    "api_keys": "SELECT, INSERT",
    "systems": "SELECT, INSERT, UPDATE, DELETE",
    "baselines": "SELECT, INSERT, UPDATE",
    "diagnoses": "SELECT, INSERT",
    "audit": "SELECT, INSERT",
}
OF_TENANT = ("users", "api_keys", "systems", "baselines", "diagnoses", "audit")


def _set(name: str) -> str:
    # A setting made in an earlier transaction of the connection reads as empty, not as NULL.
    return f"NULLIF(current_setting('hdx.{name}', true), '')"


# Before the tenant is known, a transaction sees the one row that the caller's own credential names.
BY_CREDENTIAL = (
    ("users", "log_in", "SELECT", f"lower(username) = {_set('login')} OR lower(email) = {_set('login')}"),
    ("users", "own_account", "SELECT", f"user_id = {_set('user')}::integer"),
    ("api_keys", "own_key", "SELECT", f"sha256 = decode({_set('api_key')}, 'hex')"),
    ("refresh_tokens", "own_token", "SELECT", f"token_id = {_set('session')}::uuid"),
    ("refresh_tokens", "own_family", "ALL", f"family = {_set('family')}::uuid"),
    ("tenants", "by_name", "ALL", f"name = {_set('tenant_name')}"),
)
ROLE = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{APP_ROLE}') THEN
        CREATE ROLE {APP_ROLE} NOLOGIN NOINHERIT;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of the server was migrated at the same moment
END $$
"""
# A role made by somebody else for us may be taken on, but not granted again.
MEMBERSHIP = f"""
DO $$ BEGIN
    SET LOCAL ROLE {APP_ROLE};
    RESET ROLE;
EXCEPTION WHEN insufficient_privilege THEN
    GRANT {APP_ROLE} TO CURRENT_USER;
END $$
"""
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
    op.execute(ROLE)
    op.execute(MEMBERSHIP)
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}")
    _accounts()
    _machines()
    op.execute(MERGE)
    for table, rights in RIGHTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT {rights} ON {table} TO {APP_ROLE}")
    for table in OF_TENANT:
        _let(table, "own_tenant", "ALL", f"tenant_id = {_set('tenant')}::integer")
    for table, name, deeds, rule in BY_CREDENTIAL:
        _let(table, name, deeds, rule)


def downgrade() -> None:
    """Remove everything but the role, which other databases of the server may use."""
    op.execute("DROP FUNCTION hdx_merge")
    for table in reversed(RIGHTS):
        op.drop_table(table)
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {APP_ROLE}")


def _let(table: str, name: str, deeds: str, rule: str) -> None:
    op.execute(f"CREATE POLICY {name} ON {table} FOR {deeds} USING ({rule})")


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
        sa.CheckConstraint("position('@' in email) > 0", "users_email_form"),
        sa.CheckConstraint("position('@' in username) = 0 OR lower(username) = lower(email)", "users_username_form"),
    )
    for column in ("username", "email"):
        op.create_index(f"users_{column}", "users", [sa.func.lower(sa.column(column))], unique=True)
    op.create_index("users_by_tenant", "users", ["tenant_id"])
    owner = sa.ForeignKey("users.user_id", ondelete="CASCADE")
    op.create_table(
        "refresh_tokens",
        sa.Column("token_id", sa.Uuid, primary_key=True),
        sa.Column("family", sa.Uuid, nullable=False, index=True),
        sa.Column("user_id", number, owner, nullable=False, index=True),
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
    op.create_index("api_keys_by_tenant", "api_keys", ["tenant_id"])


def _machines() -> None:
    def own_system() -> sa.ForeignKeyConstraint:
        # With the tenant in it: foreign keys are checked past row-level security.
        own = ["systems.tenant_id", "systems.system_id"]
        return sa.ForeignKeyConstraint(["tenant_id", "system_id"], own, ondelete="CASCADE")

    op.create_table(
        "systems",
        sa.Column("system_id", sa.Integer, sa.Identity(), primary_key=True),
        _tenant(),
        *map(_text, ("name", "family", "description")),
        _created(),
        sa.UniqueConstraint("tenant_id", "system_id", name="systems_own"),
    )
    keys = [sa.Column(name, sa.Integer, primary_key=True) for name in ("tenant_id", "system_id")]
    sums: list[sa.Column[list[float]]] = [
        sa.Column(name, sa.ARRAY(sa.Double), nullable=False) for name in ("count", "total", "squares")
    ]
    op.create_table("baselines", *keys, *sums, own_system())
    op.create_table(
        "diagnoses",
        sa.Column("trace_id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("system_id", sa.Integer, nullable=False),
        _text("family"),
        sa.Column("window", JSONB, nullable=False),
        sa.Column("answer", JSONB, nullable=False),
        _created(),
        own_system(),
    )
    op.create_index("diagnoses_by_system", "diagnoses", ["tenant_id", "system_id", "created_at"])
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger, sa.Identity(), primary_key=True),
        _tenant(),
        *map(_text, ("actor", "action", "subject", "detail")),
        _created(),
    )
    op.create_index("audit_by_tenant", "audit", ["tenant_id", "audit_id"])
