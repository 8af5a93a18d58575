"""One LanceDB table a tenant, and which of its generations is read.

Another encoder means a new table that is swapped in whole; a reader never sees half of one.
"""

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipelines.errors import InvalidInput, Unavailable
from pipelines.knowledge.records import Language, Made, Passage

if TYPE_CHECKING:
    import pyarrow as pa

STEMMERS: dict[Language, str] = {"en": "English", "ru": "Russian"}
PASSAGE_FIELDS = [field.name for field in fields(Passage)]
CURRENT = "current"
WRITER = "writer.lock"  # in the folder; who writes holds it
# Columns of vectors: by which texts of one language are compared, and in which the languages meet.
VECTOR, SHARED = "vector", "shared"
# Of the columns below and of what is written into them; another number means that all tables are made anew.
FORM = "1"

# Another process's write is seen after this time at the latest; without it a reader never sees it.
CONSISTENCY = timedelta(seconds=1)
# Versions younger than this are kept at clean-up, for readers that still stand on them.
KEPT = timedelta(hours=1)
# Longest wait for another writer. Source: own choice; a document is written in seconds, an archive in minutes.
WRITER_S = 120


@dataclass(frozen=True, slots=True)
class Generation:
    """A tenant's table as it is read now."""

    table: Any
    made: Made


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Wait until no other process writes into a folder of tables, and keep all others waiting.

    Raises:
        Unavailable: Another one writes for too long, as when it makes all tables anew.
    """
    end = time.monotonic() + WRITER_S
    with (folder / WRITER).open("w") as lock:
        while not _taken(lock):
            if time.monotonic() > end:
                raise Unavailable("index", "another process writes to it")
            time.sleep(0.05)
        yield


class Tables:
    """All tables of one folder; one process writes at a time, any number reads."""

    def __init__(self, folder: Path) -> None:
        import lancedb

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._database = lancedb.connect(folder, read_consistency_interval=CONSISTENCY)
        self._open: dict[str, Any] = {}
        self._known: dict[int, tuple[str, Made]] = {}
        self._looked = -CONSISTENCY.total_seconds()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As the function of that name, of this folder.

        Raises:
            Unavailable: As it.
        """
        with writing(self._folder):
            yield

    def current(self, tenant_id: int, *, fresh: bool = False) -> Generation | None:
        """Return a tenant's table, or None while it has none.

        Raises:
            InvalidInput: No tenant can have such an id.
        """
        if isinstance(tenant_id, bool) or not isinstance(tenant_id, int) or tenant_id < 0:
            raise InvalidInput("tenant_id", tenant_id, "must be a number from 0")
        now = time.monotonic()
        if fresh or now - self._looked > CONSISTENCY.total_seconds():
            self._known, self._looked = self._read_current(), now
        if tenant_id not in self._known:
            return None
        name, made = self._known[tenant_id]
        return Generation(self._table(name), made)

    def tenants(self) -> list[int]:
        """List the tenants that have a table."""
        return sorted(self._read_current())

    def writable(self, tenant_id: int, made: Made) -> Any:
        """Return the table to write to, made when absent; within `writing`.

        Raises:
            InvalidInput: The table's vectors are another encoder's: it has to be made anew first.
        """
        found = self.current(tenant_id, fresh=True)
        if found is None:
            table = self.create(tenant_id, made)
            self.publish(tenant_id, table, made)
            return table
        if found.made != made:
            raise InvalidInput("encoder", made.encoder, f"must be {found.made.encoder}, or the index be made anew")
        return found.table

    def create(self, tenant_id: int, made: Made) -> Any:
        """Make an empty table, in place of one that never became current."""
        from lancedb.index import FTS

        digest = hashlib.sha256(f"{made} {FORM} {time.time_ns()}".encode()).hexdigest()[:12]
        table = self._database.create_table(f"tenant_{tenant_id}_{digest}", schema=_schema(made))
        for language, stemmer in STEMMERS.items():
            # Folding to ASCII would make one letter of the Russian й and и.
            table.create_index(f"text_{language}", config=FTS(language=stemmer, stem=True, ascii_folding=False))
        words = FTS(base_tokenizer="whitespace", stem=False, remove_stop_words=False, ascii_folding=False)
        table.create_index("keys", config=words)
        return table

    def publish(self, tenant_id: int, table: Any, made: Made) -> None:
        """Let all readers turn to a table; the one before it goes with the next clean-up."""
        row = {"tenant_id": tenant_id, "name": table.name, "form": FORM, **asdict(made)}
        if CURRENT not in self._names():
            self._database.create_table(CURRENT, schema=_current_schema(), exist_ok=True)
        known = self._table(CURRENT)
        if SHARED not in known.schema.names:  # written when no encoder had such a part
            known.add_columns({SHARED: "cast(0 as bigint)"})
        upsert = known.merge_insert("tenant_id").when_matched_update_all().when_not_matched_insert_all()
        upsert.execute([row])
        self._looked = -CONSISTENCY.total_seconds()

    def sweep(self) -> None:
        """Drop tables that nobody reads any more; within `writing`."""
        kept = {name for name, _ in self._read_current().values()} | {CURRENT}
        for name in set(self._names()) - kept:
            age = time.time() - max(path.stat().st_mtime for path in (self._folder / f"{name}.lance").rglob("*"))
            if age > KEPT.total_seconds():
                self._database.drop_table(name)
                self._open.pop(name, None)

    def _read_current(self) -> dict[int, tuple[str, Made]]:
        if CURRENT not in self._open and CURRENT not in self._names():
            return {}
        rows = self._table(CURRENT).search().to_list()
        return {
            row["tenant_id"]: (row["name"], Made(row["encoder"], row["dims"], row.get(SHARED, 0)))
            for row in rows
            if row["form"] == FORM
        }

    def _names(self) -> list[str]:
        return list(self._database.list_tables().tables)

    def _table(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._database.open_table(name)
        return self._open[name]


def _taken(lock: IO[str]) -> bool:
    """Take a lock when nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _schema(made: Made) -> "pa.Schema":
    import pyarrow as pa

    numbers = {"page", "start", "end"}
    columns = [pa.field(name, pa.int64() if name in numbers else pa.string()) for name in PASSAGE_FIELDS]
    columns += [
        pa.field(name, pa.string()) for name in (*(f"text_{language}" for language in STEMMERS), "keys", "sha256")
    ]
    parts = {VECTOR: made.dims, SHARED: made.shared}
    return pa.schema(
        [*columns, *(pa.field(name, pa.list_(pa.float32(), dims)) for name, dims in parts.items() if dims)]
    )


def _current_schema() -> "pa.Schema":
    import pyarrow as pa

    numbers, texts = ("tenant_id", "dims", SHARED), ("name", "encoder", "form")
    return pa.schema([*(pa.field(n, pa.int64()) for n in numbers), *(pa.field(n, pa.string()) for n in texts)])
