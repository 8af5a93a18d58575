"""Identities of providers, by which accounts log in, and invitations, by which tenants are made."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0024"
down_revision = "0023"


def _set(name: str) -> str:
    return f"NULLIF(current_setting('hdx.{name}', true), '')"


OWN = f"tenant_id = {_set('tenant')}::integer"
PLATFORM = f"{_set('platform')} = 'on'"
# Before the tenant is known, a transaction sees the one row that the caller's own credential names; an issuer, which is
# an address, holds no blank.
NAMED = f"issuer || ' ' || subject = {_set('identity')}"
PROVED = f"sha256 = decode({_set('invitation')}, 'hex')"


def upgrade() -> None:
    """Make the tables; an identity stays whose it is until it is unlinked, an invitation can only end."""
    op.create_unique_constraint("users_own", "users", ["tenant_id", "user_id"])
    own = ["users.tenant_id", "users.user_id"]
    op.create_table(
        "identities",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("issuer", "subject")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("tenant_id", "user_id")),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], own, ondelete="CASCADE"),
    )
    op.create_index("identities_by_user", "identities", ["tenant_id", "user_id"])
    op.create_table(
        "invitations",
        sa.Column("invitation_id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "actor")),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("expires_at", nullable=False),
        _time("revoked_at"),
        _time("redeemed_at"),
    )
    for table in ("identities", "invitations"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON identities TO {APP_ROLE}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE (revoked_at, redeemed_at) ON invitations TO {APP_ROLE}")
    op.execute(f"CREATE POLICY own_tenant ON identities FOR ALL USING ({OWN})")
    op.execute(f"CREATE POLICY log_in ON identities FOR SELECT USING ({NAMED})")
    op.execute(f"CREATE POLICY platform ON invitations FOR ALL USING ({PLATFORM})")
    for deed in ("SELECT", "UPDATE"):
        op.execute(f"CREATE POLICY redeemed_{deed.lower()} ON invitations FOR {deed} USING ({PROVED})")


def downgrade() -> None:
    """Remove them; who logs in by an identity alone needs a password, which an administrator sets."""
    op.drop_table("invitations")
    op.drop_table("identities")
    op.drop_constraint("users_own", "users")


def _time(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)  # type: ignore[arg-type]
