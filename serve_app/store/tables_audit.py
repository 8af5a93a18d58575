"""The tables of the audit and of what is signed of it, as `tables` has the others."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
)

from serve_app.store.tables import metadata

audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(), primary_key=True),
    # Null for what is done to models, which are no tenant's.
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE")),
    *(Column(name, Text, nullable=False) for name in ("actor", "action", "subject", "detail")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("audit_by_tenant", audit.c.tenant_id, audit.c.audit_id)
Index("audit_by_time", audit.c.created_at)
# A note's place in its tenant's tree. Both numbers are unique there: one seals at a time, and verifying finds others.
audit_leaves = Table(
    "audit_leaves",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE")),
    *(Column(name, BigInteger, nullable=False) for name in ("audit_id", "leaf_index")),
    Column("hash", LargeBinary, nullable=False),
)
Index("audit_leaves_by_note", audit_leaves.c.audit_id)
Index("audit_leaves_in_order", audit_leaves.c.tenant_id, audit_leaves.c.leaf_index)
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("checkpoint_id", BigInteger, Identity(), primary_key=True),
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE")),
    Column("size", BigInteger, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    *(Column(name, kind, nullable=False) for name, kind in (("note", Text), ("hashes", LargeBinary))),
)
Index("audit_checkpoints_in_order", audit_checkpoints.c.tenant_id, audit_checkpoints.c.checkpoint_id)
