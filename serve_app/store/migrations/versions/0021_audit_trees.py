"""A Merkle tree of each tenant's notes of the audit, and its signed checkpoints; notes can be added, and no more.

What retention drops goes by a function of the owner: the first leaves of a tree, none of whose notes is young.
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0021"
down_revision = "0020"

OWN = "tenant_id = NULLIF(current_setting('hdx.tenant', true), '')::integer"
PLATFORM = "tenant_id IS NULL AND NULLIF(current_setting('hdx.platform', true), '') = 'on'"
# Who seals or verifies looks at all tenants' notes.
SEALING = "NULLIF(current_setting('hdx.sealing', true), '') = 'all'"
TREES = ("audit_leaves", "audit_checkpoints")
# What the application writes of a note; its number and its moment are the server's.
WRITTEN = "tenant_id, actor, action, subject, detail"
SIGNATURE = "hdx_drop_notes(integer, bigint, timestamptz)"
DROP = """
CREATE FUNCTION hdx_drop_notes(tenant integer, before bigint, past timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    IF past IS NULL OR past > now() - interval '30 days' THEN
        RAISE EXCEPTION 'hdx_drop_notes: % is not 30 days ago', past USING ERRCODE = 'datetime_field_overflow';
    END IF;
    IF EXISTS (
        SELECT FROM public.audit_leaves AS leaf JOIN public.audit AS note ON note.audit_id = leaf.audit_id
        WHERE (leaf.tenant_id = tenant OR leaf.tenant_id IS NULL AND tenant IS NULL) AND leaf.leaf_index < before
            AND note.created_at >= past
    ) THEN
        RAISE EXCEPTION 'hdx_drop_notes: a note is younger than %', past USING ERRCODE = 'datetime_field_overflow';
    END IF;
    WITH dropped AS (
        DELETE FROM public.audit_leaves AS leaf
        WHERE (leaf.tenant_id = tenant OR leaf.tenant_id IS NULL AND tenant IS NULL) AND leaf.leaf_index < before
        RETURNING leaf.audit_id
    )
    DELETE FROM public.audit AS note USING dropped WHERE note.audit_id = dropped.audit_id;
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM public.audit_checkpoints AS kept
    WHERE (kept.tenant_id = tenant OR kept.tenant_id IS NULL AND tenant IS NULL) AND kept.size < before;
    RETURN gone;
END $$
"""


def upgrade() -> None:
    """Make the tables, and take the application's right to delete notes."""
    op.create_table(
        "audit_leaves",
        _tenant(),
        sa.Column("audit_id", sa.BigInteger, nullable=False),
        sa.Column("leaf_index", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_leaves_by_note", "audit_leaves", ["audit_id"])
    op.create_index("audit_leaves_in_order", "audit_leaves", ["tenant_id", "leaf_index"])
    op.create_table(
        "audit_checkpoints",
        sa.Column("checkpoint_id", sa.BigInteger, sa.Identity(), primary_key=True),
        _tenant(),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_checkpoints_in_order", "audit_checkpoints", ["tenant_id", "checkpoint_id"])
    for table in TREES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT, INSERT ON {table} TO {APP_ROLE}")
        op.execute(f"CREATE POLICY own_tenant ON {table} FOR ALL USING ({OWN})")
        op.execute(f"CREATE POLICY platform ON {table} FOR ALL USING ({PLATFORM}) WITH CHECK ({PLATFORM})")
    for table in ("audit", *TREES):
        op.execute(f"CREATE POLICY sealing ON {table} FOR SELECT USING ({SEALING})")
        op.execute(f"CREATE POLICY dropping ON {table} TO CURRENT_USER USING (true)")
    for policy in ("past_gone", "past", "past_seen"):
        op.execute(f"DROP POLICY {policy} ON audit")
    op.execute(f"REVOKE INSERT, DELETE ON audit FROM {APP_ROLE}")
    op.execute(f"GRANT INSERT ({WRITTEN}) ON audit TO {APP_ROLE}")
    op.execute(DROP)
    op.execute(f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO {APP_ROLE}")


def downgrade() -> None:
    """Remove them, and let notes go by their age again."""
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    for policy in ("dropping", "sealing"):
        op.execute(f"DROP POLICY {policy} ON audit")
    for table in reversed(TREES):
        op.drop_table(table)
    op.execute(f"REVOKE INSERT ({WRITTEN}) ON audit FROM {APP_ROLE}")
    op.execute(f"GRANT INSERT, DELETE ON audit TO {APP_ROLE}")
    rule = import_module("serve_app.store.migrations.versions.0006_withdrawal").PASSING["audit"]
    op.execute(f"CREATE POLICY past_seen ON audit FOR SELECT USING ({rule})")
    op.execute(f"CREATE POLICY past ON audit AS RESTRICTIVE FOR DELETE USING ({rule})")
    op.execute(f"CREATE POLICY past_gone ON audit FOR DELETE USING ({rule})")


def _tenant() -> sa.Column[int]:
    return sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.tenant_id", ondelete="CASCADE"))
