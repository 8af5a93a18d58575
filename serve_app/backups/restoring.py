"""Puts a backup back, into a home and databases that are empty, once every byte of it was looked at.

A mark is in the home from before the first file until the last row is there: with it nothing else starts, and the next
restore of the same backup begins anew. A database that was being written when a restore died says so itself.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text

from configs.settings import Settings
from pipelines.errors import Conflict, InvalidInput, Unavailable
from pipelines.promotion.mlflow_client import WEBHOOK
from serve_app.backups.copying import clear, settle, told, write
from serve_app.backups.dumps import check_server, connected, empty, is_empty, is_half, load
from serve_app.backups.generations import begin_beyond
from serve_app.backups.manifest import (
    ARCHIVE,
    ARTIFACTS,
    AUDIT,
    HDX,
    KNOWLEDGE,
    MLFLOW,
    Manifest,
    check_files,
    checked,
    read_manifest,
)
from serve_app.backups.mark import mark_of, remove_mark, set_mark
from serve_app.local.bootstrap import database, mlflow_database
from serve_app.local.embedded import start as start_postgres
from serve_app.local.permissions import private_home
from serve_app.local.processes import in_use
from serve_app.sealing import FOLDER
from serve_app.store.archive_files import ArchiveFiles
from serve_app.store.migrate import known_revisions, make_role, migrate

KEPT = ("archive", FOLDER, "knowledge", "mlflow", "postgres")  # folders of a home that are empty before
Tell = Callable[[str], None]
NO_SECRET = SecretStr("")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a backup of another secret is believed by: brought by the operator, and never by the backup.

    Attributes:
        old_secret: `HDX_SECRET_KEY` that it was made with; empty where it is lost.
        audit_key: What `hdx audit key` printed then, and was kept elsewhere; empty where there is none.
    """

    old_secret: SecretStr = NO_SECRET
    audit_key: str = ""


NO_PROOF = Proof()


def restore(settings: Settings, source: Path, tell: Tell, proof: Proof = NO_PROOF) -> Manifest:
    """Put a backup into the home and the databases of the settings.

    Args:
        settings: Name home and servers.
        source: Folder that `hdx backup` has written.
        tell: Told what was done.
        proof: What it is believed by where the secret is another one than that of the backup.

    Raises:
        InvalidInput: It is no backup, not as it was written, or by somebody else.
        Conflict: Home or database hold something.
        Unavailable: It is of a newer HDX, nothing proves who has made it, or there is no room.
    """
    source = source.expanduser().resolve()
    with told("restore", settings.home):
        manifest = examine(settings, source, proof)
        tell(f"  {len(manifest.files)} files are as they were written")
        private_home(settings.home)
        _check_home(settings, manifest)
        with in_use(settings.home, alone=True):
            _check_home(settings, manifest)
            _check_servers(settings, manifest)
            _put_all(settings, source, manifest, tell)
    return manifest


def examine(settings: Settings, source: Path, proof: Proof = NO_PROOF) -> Manifest:
    """Look at all of a backup, and change nothing.

    Raises:
        InvalidInput: It is no backup, not as it was written, or by somebody else.
        Unavailable: It is of a newer HDX, or nothing proves who has made it.
    """
    manifest = read_manifest(source)
    _check_revisions(manifest)
    _check_maker(settings, manifest, proof)
    check_files(source, manifest)
    if manifest.mlflow_schema and settings.mlflow_url:
        rule = "names another MLflow, and the backup holds a registry: leave it unset, or restore into that by hand"
        raise Unavailable("HDX_MLFLOW_URL", rule)
    return manifest


def _check_revisions(manifest: Manifest) -> None:
    newer = f"it was made by HDX {manifest.hdx}: restore it by that version or a newer one"
    if manifest.db_schema not in known_revisions():
        raise Unavailable("backup", f"its tables are of revision {manifest.db_schema}, unknown here; {newer}")
    if manifest.mlflow_schema and manifest.mlflow_schema not in _mlflow_revisions():
        raise Unavailable("backup", f"MLflow's tables are of revision {manifest.mlflow_schema}, unknown here; {newer}")


def _check_maker(settings: Settings, manifest: Manifest, proof: Proof) -> None:
    """Check by what the operator has, and by nothing that the backup says, that it is no stranger's."""
    if manifest.is_signed(settings):
        return
    if manifest.is_of(settings):
        raise InvalidInput("manifest.json", manifest.mac, "was changed: it is not as this secret has sealed it")
    if proof.old_secret.get_secret_value():
        if not manifest.is_signed(settings.model_copy(update={"secret_key": proof.old_secret})):
            raise InvalidInput(
                "manifest.json", manifest.mac, "was changed, or sealed by another secret than the old one"
            )
    elif proof.audit_key:
        if not _signed_by(manifest, proof.audit_key):
            raise InvalidInput("--key", proof.audit_key, "has not signed this backup, or it was changed since")
    else:
        rule = "is another one than that of the backup: take the .env of then, or name its secret by --other-secret; "
        rule += (
            "where that is lost, --key with the key of the audit that you have kept elsewhere. A backup without any "
        )
        raise Unavailable("HDX_SECRET_KEY", f"{rule}of these may be anybody's, and is not restored")


def _signed_by(manifest: Manifest, audit_key: str) -> bool:
    try:
        return manifest.is_signed_by(audit_key)
    except ValueError as error:
        raise InvalidInput("--key", audit_key, str(error)) from None


def _mlflow_revisions() -> tuple[str, ...]:
    """Return the revisions of MLflow's tables that the installed one knows, the newest first."""
    spec = find_spec("mlflow")
    folders = spec.submodule_search_locations if spec else None
    script = ScriptDirectory(str(Path(next(iter(folders or ()))) / "store" / "db_migrations"))
    return tuple(each.revision for each in script.walk_revisions())


# --- what is empty before


def _check_home(settings: Settings, manifest: Manifest) -> None:
    """Check that nothing is in the way, or what a restore of the same backup has left.

    Raises:
        Conflict: Something is.
    """
    begun = mark_of(settings.home)
    if begun is not None and begun != _mark(settings, manifest):
        rule = "holds a part of another backup, or of one for other databases: repeat that, or remove the folder"
        raise Conflict("home", settings.home, rule)
    if begun is not None:
        return
    for name in KEPT:
        if any(path.is_file() for path in (settings.home / name).rglob("*")):
            raise Conflict("home", settings.home, f"must be empty, and {name}/ is not: name another one by HDX_HOME")
    archive = _archive_of(settings, manifest)
    if archive is not None and archive.exists():
        rule = "is there already, of this database or another copy of it: name another folder by HDX_RETENTION__ARCHIVE"
        raise Conflict("archive", archive, rule)


def _archive_of(settings: Settings, manifest: Manifest) -> Path | None:
    """Return where the files of the archive go; None where the backup has none.

    Raises:
        Unavailable: They cannot be put there.
    """
    if not any(name.startswith(f"{ARCHIVE}/") for name in manifest.files):
        return None
    files = None if settings.archive_url is None else ArchiveFiles(settings.archive_url)
    if files is None or not files.is_local:
        rule = "must be a folder: the backup holds an archive of readings; to move it elsewhere, copy it after"
        raise Unavailable("HDX_RETENTION__ARCHIVE", rule)
    return Path(files.root) / manifest.archive


def _mark(settings: Settings, manifest: Manifest) -> str:
    """Return what tells this restore from all others: which backup it is of, and where to."""
    named = (settings.database.url, settings.database.mlflow_url, settings.retention.archive)
    places = "\n".join(each.get_secret_value() if each else "" for each in named)
    return sha256(f"{manifest.digest}\n{places}".encode()).hexdigest()


def _check_servers(settings: Settings, manifest: Manifest) -> None:
    """Check that there are no tables in databases that are named by their address, nor in MLflow's beside HDX's.

    Raises:
        Conflict: There are.
        Unavailable: The backup's tables cannot be put there.
    """
    if mark_of(settings.home) is not None:
        return  # what is whole there is of this backup: it was empty when the restore began
    for url in _named(settings, manifest):
        if not url.startswith("postgresql"):
            raise Unavailable("HDX_DATABASE__MLFLOW_URL", "must name a PostgreSQL, or be left out")
        if not is_half(url) and not is_empty(url):
            name = make_url(url).database
            raise Conflict("database", name, "must be empty: name others by HDX_DATABASE__URL and __MLFLOW_URL")


def _named(settings: Settings, manifest: Manifest) -> list[str]:
    """Return the addresses of databases that no home is needed to find."""
    own, registry = settings.database.url, settings.database.mlflow_url
    found = [own.get_secret_value()] if own else []
    if manifest.mlflow_schema and own:
        found.append(mlflow_database(settings, own.get_secret_value()))
    elif manifest.mlflow_schema and registry:
        found.append(registry.get_secret_value())
    return found


# --- putting it there


def _put_all(settings: Settings, source: Path, manifest: Manifest, tell: Tell) -> None:
    if mark_of(settings.home) is not None:
        _remove_embedded(settings)
    set_mark(settings.home, _mark(settings, manifest))
    home = settings.home
    places = {KNOWLEDGE: home / "knowledge", AUDIT: home / FOLDER, ARTIFACTS: home / "mlflow" / "artifacts"}
    archive = _archive_of(settings, manifest)
    if archive is not None:
        places[ARCHIVE] = archive.parent
        clear(archive)
    for part, folder in places.items():
        if part != ARCHIVE:
            clear(folder)
        _put_files(source, manifest, part, folder)
    tell("  files are in their places")
    with database(settings, as_it_is=True) as urls:
        for name, url in ((MLFLOW, urls[1]), (HDX, urls[0])):
            if name in manifest.files:
                _put_database(source, manifest, name, url)
                tell(f"  {name} is in its database")
        migrate(urls[0])
        begin_beyond(urls[0], manifest.made_at)
        if manifest.mlflow_schema:
            _finish_registry(urls[1], manifest.is_of(settings))
    remove_mark(home)


def _put_files(source: Path, manifest: Manifest, part: str, folder: Path) -> None:
    for name, held in manifest.files.items():
        if name.startswith(f"{part}/"):
            write(folder / name.removeprefix(f"{part}/"), checked(source / name, name, held))
    if folder.exists():
        settle(folder)


def _put_database(source: Path, manifest: Manifest, name: str, url: str) -> None:
    """Put a dump into its database; one that died on the way is begun anew, one that is whole stays."""
    with connected(url) as connection:
        check_server(connection, manifest.postgres)
    if is_half(url):
        empty(url)
    elif not is_empty(url):
        return
    if name == HDX:
        make_role(url)
    load(url, checked(source / name, name, manifest.files[name]), manifest.owners if name == HDX else ())


def _finish_registry(url: str, is_own: bool) -> None:
    """Bring MLflow's tables up to date, and forget whom it calls: another home has other ports, and maybe secrets."""
    with connected(url) as connection:
        query = text("DELETE FROM webhooks WHERE name = :own OR NOT :is_own")
        connection.execute(query, {"own": WEBHOOK, "is_own": is_own})
        schema = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if schema != _mlflow_revisions()[0]:
        from mlflow.store.db import utils

        upgrade: Any = utils._upgrade_db  # what `mlflow db upgrade` calls, without the address in a command line
        upgrade(create_engine(url))


def _remove_embedded(settings: Settings) -> None:
    """Remove the embedded server's folder that a restore has begun: it may have died while that was made."""
    folder = settings.home / "postgres"
    if settings.database.url is None and folder.exists():
        with suppress(Exception):  # one that was being made does not start; one that runs is stopped
            start_postgres(folder).stop()
        clear(folder)
