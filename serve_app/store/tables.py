"""The tables as SQLAlchemy sees them, for queries that are composed; the migrations make them."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

APP_ROLE = "hdx_app"
# The schema of the queue, which the application has no right to.
QUEUE = "hdx_queue"

metadata = MetaData()


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _tenant() -> Column[object]:
    return Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), nullable=False)


def _own_system() -> ForeignKeyConstraint:
    # With the tenant in it: foreign keys are checked past row-level security.
    own = ["systems.tenant_id", "systems.system_id"]
    return ForeignKeyConstraint(["tenant_id", "system_id"], own, ondelete="CASCADE")


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
    *(Column(name, Text, nullable=False) for name in ("username", "email", "password_hash", "role")),
    Column("active", Boolean, nullable=False, server_default="true"),
    _created(),
    # How often the account's credentials were withdrawn, and when last.
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("withdrawn_at", DateTime(timezone=True)),
    UniqueConstraint("tenant_id", "user_id", name="users_own"),
    # Together with the unique indexes: one log-in never means two accounts.
    CheckConstraint("position('@' in email) > 0", "users_email_form"),
    CheckConstraint("position('@' in username) = 0 OR lower(username) = lower(email)", "users_username_form"),
)
Index("users_username", func.lower(users.c.username), unique=True)
Index("users_email", func.lower(users.c.email), unique=True)
Index("users_by_tenant", users.c.tenant_id)
Index("users_withdrawn", users.c.withdrawn_at, postgresql_where=users.c.withdrawn_at.is_not(None))
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("family", Uuid, nullable=False, index=True),
    Column("user_id", Integer, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    _created(),
    # When the log-in was that it descends from; older rows do not say.
    Column("begun_at", DateTime(timezone=True)),
)
Index("refresh_tokens_by_end", refresh_tokens.c.expires_at)
api_keys = Table(
    "api_keys",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    _created(),
    Column("key_id", Integer, Identity(), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("prefix", Text, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text, as_tuple=True)),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    UniqueConstraint("key_id", name="api_keys_id"),
    CheckConstraint("cardinality(scopes) > 0", "api_keys_scopes"),
)
Index("api_keys_by_tenant", api_keys.c.tenant_id)
families = Table(
    "families",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    # As text: bit for bit what answers of that day were given by.
    Column("definition", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("actor", Text, nullable=False),
    # Old answers are given again by a definition that nobody can choose any more.
    Column("removed_at", DateTime(timezone=True)),
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
    Column("alarm", Boolean, nullable=False, server_default="false"),
    _created(),
    Column("state", Text, nullable=False, server_default="commissioning"),
    Column("learned", Integer, nullable=False, server_default="0"),
    Column("commissioned_since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("limits", JSONB, nullable=False, server_default=text("'{}'")),
    Column("evidence", ARRAY(Double), nullable=False, server_default=text("'{}'")),
    Column("judged_until", DateTime(timezone=True)),
    UniqueConstraint("tenant_id", "system_id", name="systems_own"),
    CheckConstraint("state IN ('commissioning', 'monitoring', 'maintenance')", "systems_state"),
)
normals = Table(
    "normals",
    metadata,
    Column("tenant_id", Integer, primary_key=True),
    Column("system_id", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    _own_system(),
)
diagnoses = Table(
    "diagnoses",
    metadata,
    Column("trace_id", Uuid, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("system_id", Integer, nullable=False),
    Column("family", Text, nullable=False),
    Column("window", JSONB, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("alarm", Boolean),
    Column("baseline", LargeBinary),
    Column("limits", JSONB),
    _created(),
    # Of a window that was cut from readings: when it ended, and whether readings that came late have changed it.
    Column("window_end", DateTime(timezone=True)),
    Column("late", Boolean, nullable=False, server_default="false"),
    # Whether the window is one of those that a commissioning counts and learns from.
    Column("counted", Boolean, nullable=False, server_default="true"),
    _own_system(),
    UniqueConstraint("tenant_id", "trace_id", name="diagnoses_own"),
)
Index("diagnoses_by_time", diagnoses.c.created_at)
Index("diagnoses_by_system", diagnoses.c.tenant_id, diagnoses.c.system_id, diagnoses.c.created_at)
Index(
    "diagnoses_by_end",
    *(diagnoses.c[name] for name in ("tenant_id", "system_id", "window_end")),
    postgresql_where=diagnoses.c.window_end.is_not(None),
)
feedback = Table(
    "feedback",
    metadata,
    Column("tenant_id", Integer, primary_key=True),
    Column("trace_id", Uuid, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("component", Text),
    *(Column(name, Text, nullable=False) for name in ("note", "actor")),
    _created(),
    ForeignKeyConstraint(["tenant_id", "trace_id"], ["diagnoses.tenant_id", "diagnoses.trace_id"], ondelete="CASCADE"),
    CheckConstraint("verdict IN ('confirmed', 'false_alarm', 'missed')", "feedback_verdict"),
)
Index("feedback_by_time", feedback.c.created_at)
consulted = Table(
    "consulted",
    metadata,
    Column("tenant_id", Integer, primary_key=True),
    Column("trace_id", Uuid, primary_key=True),
    Column("passages", JSONB, nullable=False),
    ForeignKeyConstraint(["tenant_id", "trace_id"], ["diagnoses.tenant_id", "diagnoses.trace_id"], ondelete="CASCADE"),
)


def _of_system(primary_key: bool = False) -> list[Column[object]]:
    return [
        Column(name, Integer, primary_key=primary_key, autoincrement=False, nullable=False)
        for name in ("tenant_id", "system_id")
    ]


def _of_moment(*more: Column[object]) -> list[Column[object]]:
    """Return the key of what a channel of a system had at a moment."""
    numbers: list[Column[object]] = [
        Column(name, Integer, primary_key=True, autoincrement=False) for name in ("tenant_id", "system_id")
    ]
    at: Column[object] = Column("at", DateTime(timezone=True), primary_key=True)
    return [*numbers, *more, Column("channel", Text, primary_key=True), at]


# Days are partitions of both, made and dropped by functions of the owner. A system takes its rows along by a trigger.
readings = Table(
    "readings",
    metadata,
    *_of_moment(),
    Column("value", Double, nullable=False),
    postgresql_partition_by="RANGE (at)",
)
Index("readings_by_time", readings.c.at, postgresql_using="brin")
rollups = Table(
    "rollups",
    metadata,
    *_of_moment(Column("step_s", Integer, primary_key=True)),
    Column("count", BigInteger, nullable=False),
    Column("total", Double, nullable=False),
    # Least and last are pairs whose order is the order of arrays: (value, epoch), (epoch, value); greatest has -epoch.
    *(Column(name, ARRAY(Double), nullable=False) for name in ("least", "greatest", "first", "last")),
    postgresql_partition_by="RANGE (at)",
)
# Days of systems that were archived, or are being so. No foreign key: files go after their system, and rows after them.
archived_days = Table(
    "archived_days",
    metadata,
    *(Column(name, Integer, primary_key=True, autoincrement=False) for name in ("tenant_id", "system_id")),
    Column("day", Date, primary_key=True),
    # How often the day's readings were changed since, and the version that the file holds; dropped is their table.
    Column("version", Integer, nullable=False, server_default="0"),
    Column("held", Integer),
    Column("file", Text),
    Column("dropped", Boolean, nullable=False, server_default="false"),
    Column("gone_at", DateTime(timezone=True)),
    CheckConstraint("(held IS NULL) = (file IS NULL)", "archived_days_file"),
)
Index("archived_days_by_day", archived_days.c.day)
quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_id", BigInteger, Identity(), nullable=False),
    *_of_moment(),
    # In the key: a second bad value of a moment takes nothing of the first.
    *(Column(name, Text, primary_key=True) for name in ("value", "reason")),
    _created(),
    # What people decided of it: it stays, so that the same value sent again is not asked about again.
    Column("settled", Text),
    _own_system(),
    CheckConstraint("settled IN ('accepted', 'dismissed')", "quarantine_settled"),
)
Index("quarantine_by_system", quarantine.c.tenant_id, quarantine.c.system_id, quarantine.c.quarantine_id)
Index("quarantine_by_time", quarantine.c.created_at, postgresql_using="brin")
watches = Table(
    "watches",
    metadata,
    *_of_system(primary_key=True),
    # Readings are taken up to the first; all windows are judged up to the second; at the third the next one is whole.
    *(Column(name, DateTime(timezone=True), nullable=False) for name in ("read_until", "judged_until", "due")),
    # Readings that came after theirs were taken, and those of them that are being judged again; the newest of all.
    *(Column(name, DateTime(timezone=True)) for name in ("late_from", "late_to", "again_from", "again_to", "newest")),
    # Whether people were told of those.
    Column("late_told", Boolean, nullable=False, server_default="false"),
    _own_system(),
)
events = Table(
    "events",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    *_of_system(),
    Column("at", DateTime(timezone=True), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("kind", "text")),
    Column("trace_id", Uuid),
    _created(),
    _own_system(),
)
Index("events_by_system", events.c.tenant_id, events.c.system_id, events.c.event_id)
Index("events_by_time", events.c.created_at, postgresql_using="brin")
documents = Table(
    "documents",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("name", "sha256", "state", "reason", "title")),
    Column("language", Text),
    *(Column(name, Integer, nullable=False) for name in ("bytes", "passages", "flagged", "attempts")),
    Column("content", LargeBinary, nullable=False),
    Column("pages", ARRAY(Text), nullable=False),
    _created(),
    CheckConstraint("state IN ('queued', 'indexing', 'ready', 'failed', 'removing')", "documents_state"),
    Column("upload", BigInteger, nullable=False, server_default=text("nextval('documents_uploads')")),
    *(Column(name, Integer, nullable=False, server_default="0") for name in ("done", "total", "begun")),
)
Index("documents_waiting", documents.c.upload, postgresql_where=documents.c.state != "ready")
# Answers to questions, and what people said of them: the last word of each account.
answers = Table(
    "answers",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
    Column("trace_id", Uuid, primary_key=True),
    Column("question", Text, nullable=False),
    Column("cited", JSONB, nullable=False),
    Column("abstained", Boolean, nullable=False),
    _created(),
)
Index("answers_by_time", answers.c.created_at, postgresql_using="brin")
answer_feedback = Table(
    "answer_feedback",
    metadata,
    Column("tenant_id", Integer, primary_key=True),
    Column("trace_id", Uuid, primary_key=True),
    Column("account", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("actor", "verdict", "comment")),
    _created(),
    ForeignKeyConstraint(["tenant_id", "trace_id"], ["answers.tenant_id", "answers.trace_id"], ondelete="CASCADE"),
    CheckConstraint("verdict IN ('helped', 'wrong', 'missing')", "answer_feedback_verdict"),
)
Index("answer_feedback_by_time", answer_feedback.c.tenant_id, answer_feedback.c.created_at)
# Work that takes longer than a request, and beside it what was sent, and the readings that were read from it.
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    _tenant(),
    # In which order they were asked for.
    Column("number", BigInteger, Identity(), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("kind", "state")),
    # No foreign key: what became of a job is told when its system is gone, too.
    Column("system_id", Integer, nullable=False),
    Column("given", JSONB, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("task", Text, nullable=False),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("total", BigInteger),
    Column("piece", Integer, nullable=False, server_default="0"),
    Column("pieces", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("report", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_by", Text, nullable=False),
    _created(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When somebody has to look after it, unless it has come further by then.
    Column("due", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", "jobs_state"),
    CheckConstraint("task IN ('job', 'file')", "jobs_task"),
)
Index("jobs_by_tenant", jobs.c.tenant_id, jobs.c.number)
Index("jobs_by_time", jobs.c.created_at)
Index("jobs_open", jobs.c.due, postgresql_where=jobs.c.state.in_(("queued", "running")))
job_parts = Table(
    "job_parts",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
    Column("job_id", Uuid, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    _created(),
    CheckConstraint("stage IN ('file', 'rows')", "job_parts_stage"),
)
Index("job_parts_by_time", job_parts.c.created_at, postgresql_using="brin")
# Keys under which callers repeat a request: the trace id is of the request that holds the key, or held it.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True),
    *(Column(name, Text, primary_key=True) for name in ("account", "route", "key")),
    Column("trace_id", Uuid, nullable=False),
    Column("fingerprint", LargeBinary),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("changed", Boolean, nullable=False, server_default="false"),
    *(Column("status", Integer), Column("headers", JSONB), Column("body", LargeBinary)),
    _created(),
)
Index("idempotency_keys_by_trace", idempotency_keys.c.trace_id, unique=True)
Index("idempotency_keys_by_time", idempotency_keys.c.created_at, postgresql_using="brin")
