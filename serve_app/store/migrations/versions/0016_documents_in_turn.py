"""The order of uploads by number, how far a document is, and how often the indexer ended while it was in work."""

import sqlalchemy as sa
from alembic import op

from serve_app.store.tables import APP_ROLE

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Number the uploads that are there by their time; two of one moment, or of a clock set back, had no order."""
    op.execute("CREATE SEQUENCE documents_uploads")
    op.execute(f"GRANT USAGE ON SEQUENCE documents_uploads TO {APP_ROLE}")
    number = sa.text("nextval('documents_uploads')")
    op.add_column("documents", sa.Column("upload", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("ALTER TABLE documents NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE documents SET upload = numbered.number FROM (SELECT tenant_id AS tenant, document_id AS id, "
        "row_number() OVER (ORDER BY created_at, document_id) AS number FROM documents) AS numbered "
        "WHERE tenant_id = tenant AND document_id = id"
    )
    op.execute("SELECT setval('documents_uploads', 1 + (SELECT count(*) FROM documents))")
    op.execute("ALTER TABLE documents FORCE ROW LEVEL SECURITY")
    op.alter_column("documents", "upload", server_default=number)
    for name in ("done", "total", "begun"):
        op.add_column("documents", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    _order_by("upload")


def downgrade() -> None:
    """Order them by time again."""
    _order_by("created_at")
    for name in ("upload", "done", "total", "begun"):
        op.drop_column("documents", name)
    op.execute("DROP SEQUENCE documents_uploads")


def _order_by(column: str) -> None:
    op.drop_index("documents_waiting", "documents")
    op.create_index("documents_waiting", "documents", [column], postgresql_where=sa.text("state <> 'ready'"))
