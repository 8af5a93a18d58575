"""Where rows live: the tables, as SQLAlchemy sees them.

Exists so that queries are composed, never formatted.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

APP_ROLE = "hdx_app"

metadata = MetaData()


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _tenant() -> Column[object]:
    return Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), nullable=False)


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _created(),
)
users = Table(
    "users",
    metadata,
    Column("user_id", Integer, Identity(), primary_key=True),
    _tenant(),
    Column("username", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default="true"),
    _created(),
)
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("family", Uuid, nullable=False, index=True),
    Column("user_id", Integer, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    _created(),
)
api_keys = Table(
    "api_keys",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    _created(),
)
systems = Table(
    "systems",
    metadata,
    Column("system_id", Integer, Identity(), primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("description", Text, nullable=False),
    _created(),
)
baselines = Table(
    "baselines",
    metadata,
    Column("system_id", Integer, primary_key=True),
    _tenant(),
    Column("count", ARRAY(Double), nullable=False),
    Column("total", ARRAY(Double), nullable=False),
    Column("squares", ARRAY(Double), nullable=False),
)
diagnoses = Table(
    "diagnoses",
    metadata,
    Column("trace_id", Uuid, primary_key=True),
    _tenant(),
    Column("system_id", Integer, nullable=False),
    Column("family", Text, nullable=False),
    Column("window", JSONB, nullable=False),
    Column("answer", JSONB, nullable=False),
    _created(),
)
audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(), primary_key=True),
    _tenant(),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    _created(),
)
