"""Makes a backup while the service works, in an order by which whatever the tables name is in it.

While the index is copied nobody writes to it, and while checkpoints are, nobody seals; at the end of that, before
either goes on, the tables are frozen for the dump: what they say of both is so. MLflow's tables are frozen next, and
read after HDX's, which name its versions; artefacts are copied after the tables that name them. A file of the archive
may go while all this is done, joined with readings that came late: then all that is frozen is frozen anew.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, text

from configs.settings import Settings, version
from pipelines.errors import InvalidInput, Unavailable
from pipelines.knowledge.search.tables import WRITER, writing
from serve_app.backups.copying import Copy, finished, told
from serve_app.backups.dumps import check_reader, check_server, connected, dump, moment, owners
from serve_app.backups.manifest import (
    ARCHIVE,
    ARTIFACTS,
    AUDIT,
    FORMAT,
    HDX,
    KNOWLEDGE,
    MLFLOW,
    NAME,
    Manifest,
    check_name,
    keys_of,
)
from serve_app.backups.mark import check_whole
from serve_app.local.bootstrap import database
from serve_app.local.processes import in_use
from serve_app.sealing import FOLDER
from serve_app.store.archive_files import UNFINISHED, ArchiveFiles
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.migrate import current

# While it is held no day's table is dropped: pg_dump would look for it in vain. Since revision 0009.
HOLD = "LOCK TABLE ONLY readings IN ACCESS SHARE MODE"
READINGS, ARCHIVING = "0009", "0017"  # revisions that made the tables
DAYS = text("SELECT tenant_id, system_id, file, dropped FROM archived_days WHERE file IS NOT NULL AND gone_at IS NULL")
VERSIONS = text("SELECT name, version, storage_location FROM model_versions WHERE current_stage <> 'Deleted_Internal'")
PROXIED = "mlflow-artifacts:/"  # what the tracking server of this machine hands out
SEALING_S = 60.0  # for which a sealing is waited for; source: own choice, it takes well under a second
Tell = Callable[[str], None]


@dataclass
class Found:
    """What was read while the tables were frozen.

    Attributes:
        gone: Files of the archive that they name, and that are not there.
    """

    schema: str = ""
    made_at: str = ""
    mlflow_schema: str = ""
    postgres: int = 0
    owners: list[str] = field(default_factory=list)
    archive: str = ""
    left_out: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def make(settings: Settings, target: Path, tell: Tell) -> Manifest:
    """Write a backup of all that the settings' service keeps.

    Args:
        settings: Name home and servers.
        target: Folder to be.
        tell: Told what was done.

    Raises:
        Unavailable: A part does not answer, or there is no room.
        Conflict: The target is there already.
        InvalidInput: It is in the home, or its folder is not there; or a file's name is no UTF-8.
    """
    target = _place(settings, target)
    _check_home(settings)
    _check_names(settings.home)
    with told("backup", target), in_use(settings.home) as alone, finished(target) as copy:
        with database(settings, alone, as_it_is=True) as urls:
            found = _copied(settings, urls, copy, tell)
        manifest = _manifest(settings, copy, found)
        copy.add(NAME, [manifest.to_json()])
    return manifest


def _place(settings: Settings, target: Path) -> Path:
    target = target.expanduser().absolute()
    if not target.parent.is_dir():
        raise InvalidInput("target", target, "must lie in a folder that is there")
    if target.resolve().is_relative_to(settings.home):
        raise InvalidInput("target", target, f"must not lie in {settings.home}, which is what is copied")
    return target


def _check_home(settings: Settings) -> None:
    check_whole(settings.home)
    embedded = settings.database.url is None
    if not settings.home.is_dir() or (embedded and not (settings.home / "postgres" / "PG_VERSION").exists()):
        raise Unavailable("home", f"{settings.home} holds nothing yet: name the service's home by HDX_HOME")


def _check_names(home: Path) -> None:
    """Refuse at once what would end a backup when most of it is copied."""
    for folder in (home / "knowledge", home / "mlflow" / "artifacts"):
        for path in folder.rglob("*"):
            check_name(path.relative_to(home).as_posix())


def _manifest(settings: Settings, copy: Copy, found: Found) -> Manifest:
    audit_key, models_key = keys_of(settings)
    return Manifest(
        format=FORMAT,
        hdx=version(),
        made_at=found.made_at,
        db_schema=found.schema,
        mlflow_schema=found.mlflow_schema,
        postgres=found.postgres,
        owners=found.owners,
        archive=found.archive,
        audit_key=audit_key,
        models_key=models_key,
        left_out=found.left_out,
        lost=found.lost,
        files=dict(copy.files),
    ).signed(settings)


def _copied(settings: Settings, urls: tuple[str, str], copy: Copy, tell: Tell) -> Found:
    """Copy all but the manifest; begin again as long as files of the archive go meanwhile."""
    schema = current(urls[0])
    if not schema:
        raise Unavailable("database", "holds no tables of HDX yet: there is nothing to copy")
    with connected(urls[0]) as connection:
        check_reader(connection)
        check_server(connection)
    files, left_out = _archive(settings)
    registry = _registry(settings, urls[1], left_out)
    gone: set[str] = set()
    while True:
        found = Found(schema, left_out=left_out)
        with _frozen(settings, urls[0], registry, copy, found) as (connection, snapshot, mlflow):
            _copy_days(files, connection, copy, found)
            # What is gone twice does not come back; else a newer file has taken its place since.
            if not found.gone - gone:
                found.lost += sorted(found.gone)
                _dump(urls[0], HDX, snapshot, copy, tell)
                if mlflow is not None and registry is not None:
                    _copy_registry(settings, registry, mlflow, copy, found, tell)
                for part in (KNOWLEDGE, AUDIT, ARCHIVE):
                    tell(f"  {part}: {copy.size(f'{part}/') / 1e6:.1f} MB")
                return found
        gone = found.gone


@contextmanager
def _frozen(
    settings: Settings, url: str, registry: str | None, copy: Copy, found: Found
) -> "Iterator[tuple[Connection, str, tuple[Connection, str] | None]]":
    """Copy the index and the checkpoints, and freeze the tables as they are then."""
    hold = HOLD if found.schema >= READINGS else ""
    with ExitStack() as frozen:
        with ExitStack() as still:
            copy.drop(lambda name: name.startswith((f"{KNOWLEDGE}/", f"{AUDIT}/")))
            _copy_index(settings.home / "knowledge", copy, still)
            _copy_checkpoints(settings.home / FOLDER, copy, still)
            connection, snapshot = frozen.enter_context(moment(url, hold))
            mlflow = frozen.enter_context(moment(registry)) if registry else None
        # When its transaction began: no later than what it sees.
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
        found.made_at = now.astimezone(UTC).isoformat(timespec="seconds")
        found.postgres, found.owners = check_server(connection), owners(connection)
        yield connection, snapshot, mlflow


def _copy_index(folder: Path, copy: Copy, still: ExitStack) -> None:
    if folder.is_dir():
        still.enter_context(writing(folder))
        copy.add_tree(folder, KNOWLEDGE, lambda path: path.name != WRITER)


def _copy_checkpoints(folder: Path, copy: Copy, still: ExitStack) -> None:
    end = time.monotonic() + SEALING_S
    while True:
        try:
            still.enter_context(CheckpointFiles(folder).alone())
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise Unavailable("audit", "another process is sealing") from None
            time.sleep(0.1)
    copy.add_tree(folder, AUDIT, lambda path: path.suffix == ".jsonl")


# --- the archive of readings


def _archive(settings: Settings) -> tuple[ArchiveFiles | None, list[str]]:
    """Return the files of the archive where they lie on this machine, and what is to be said where they do not."""
    where = settings.archive_url
    if where is None:
        return None, ["archive of readings: HDX_RETENTION__ARCHIVE is off"]
    files = ArchiveFiles(where)
    if files.is_local:
        return files, []
    return None, ["archive of readings: it lies in an object store (HDX_RETENTION__ARCHIVE), which keeps it"]


def _copy_days(files: ArchiveFiles | None, connection: Connection, copy: Copy, found: Found) -> None:
    """Copy the files that the tables name, and no other; one that was copied before is not copied again."""
    if found.schema >= ARCHIVING:
        found.archive = str(connection.execute(text("SELECT hdx_archive()")).scalar_one())
    if files is None or not found.archive:
        return
    named = set()
    for tenant_id, system_id, file, dropped in connection.execute(DAYS):
        name = f"{found.archive}/tenant={tenant_id}/system={system_id}/{file}"
        there = f"{ARCHIVE}/{name}" in copy.files or copy.take(Path(files.root) / name, f"{ARCHIVE}/{name}")
        named.add(f"{ARCHIVE}/{name}")
        if dropped and not there:  # else the tables have the day, too
            found.gone.add(f"{ARCHIVE}/{name}")
    copy.drop(lambda name: name.startswith(f"{ARCHIVE}/") and (name not in named or name.endswith(UNFINISHED)))


# --- the registry of models


def _registry(settings: Settings, url: str, left_out: list[str]) -> str | None:
    """Return the address of MLflow's tables; None where they are another's to keep, which is then said."""
    if settings.mlflow_url:
        left_out.append("registry of models: it is another MLflow's (HDX_MLFLOW_URL), which keeps it")
        return None
    if not url.startswith("postgresql"):
        left_out.append("registry of models: HDX_DATABASE__MLFLOW_URL is no PostgreSQL; copy it and its artefacts")
        return None
    with connected(url) as connection:
        check_server(connection)
        if connection.execute(text("SELECT to_regclass('model_versions')")).scalar() is None:
            left_out.append("registry of models: there is none yet")
            return None
    return url


def _copy_registry(
    settings: Settings, url: str, frozen: tuple[Connection, str], copy: Copy, found: Found, tell: Tell
) -> None:
    connection, snapshot = frozen
    found.mlflow_schema = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    _dump(url, MLFLOW, snapshot, copy, tell)
    copy.add_tree(settings.home / "mlflow" / "artifacts", ARTIFACTS)
    tell(f"  {ARTIFACTS}: {copy.size(f'{ARTIFACTS}/') / 1e6:.1f} MB")
    for name, number, place in connection.execute(VERSIONS):
        folder = f"{ARTIFACTS}/{str(place).removeprefix(PROXIED)}/"
        if str(place).startswith(PROXIED) and not copy.size(folder):
            found.lost.append(f"{name}, version {number}")


def _dump(url: str, name: str, snapshot: str, copy: Copy, tell: Tell) -> None:
    held = copy.add(name, dump(url, snapshot))
    tell(f"  {name}: {held.size / 1e6:.1f} MB")
