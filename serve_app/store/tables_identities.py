"""The tables of identities that providers vouch for, and of invitations; no secret stands in them."""

from sqlalchemy import Column, DateTime, ForeignKeyConstraint, Identity, Index, Integer, LargeBinary, Table, Text, func

from serve_app.store.tables import metadata

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("user_id", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # With the tenant in it: foreign keys are checked past row-level security.
    ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"),
)
Index("identities_by_user", identities.c.tenant_id, identities.c.user_id)
invitations = Table(
    "invitations",
    metadata,
    Column("invitation_id", Integer, Identity(), primary_key=True),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    *(Column(name, Text, nullable=False) for name in ("tenant", "actor")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("redeemed_at", DateTime(timezone=True)),
)
