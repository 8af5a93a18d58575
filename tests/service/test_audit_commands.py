"""`hdx audit verify`, `export` and `key`: on a real database, and on a file that has left it."""

import asyncio
from pathlib import Path

import orjson
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from typer.testing import CliRunner

from configs.settings import Settings
from pipelines.errors import InvalidInput
from serve_app.cli.commands import app
from serve_app.local.permissions import private_home
from serve_app.sealing import Sealer
from serve_app.shared.checkpoints import Signer
from serve_app.store.migrate import migrate
from serve_app.store.repository import Store


def hdx(*words: str) -> tuple[int, str]:
    """Run a command; return how it ends and what it prints, on one line."""
    ended = CliRunner().invoke(app, words)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, " ".join(ended.output.split())


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose service has sealed three notes of a tenant and one of the platform."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDX_DATABASE__URL", database_url)
    monkeypatch.setenv("HDX_HOME", str(tmp_path / "var"))
    migrate(database_url)
    private_home(tmp_path / "var")

    async def begin() -> None:
        store = Store.open(database_url, 1)
        tenant_id = await store.tenants.ensure("demo")
        for number in range(3):
            await store.audit.note(tenant_id, "ann", "did", f"thing {number}", "détail")
        await store.audit.note(None, "gates", "model.promoted", "hdx-generic-catboost", "")
        await Sealer.of(store.seals, Settings(home=tmp_path / "var")).seal()
        await store.close()

    asyncio.run(begin())
    return tmp_path / "var"


def test_the_database_is_verified(home: Path, database_url: str) -> None:
    """Each tree is told of; what its owner did ends with 1 and the note that does not hold."""
    code, said = hdx("audit", "verify")
    assert code == 0, said
    assert "platform: 1 notes, 1 checkpoints; 1 signed at" in said
    assert "tenant 1: 3 notes, 1 checkpoints; 3 signed at" in said
    assert said.endswith("The audit holds.")
    with create_engine(database_url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT set_config('hdx.tenant', '1', true)"))
        connection.execute(text("UPDATE audit SET actor = 'eve' WHERE subject = 'thing 1'"))
    code, said = hdx("audit", "verify")
    assert code == 1
    assert "at 1 was changed" in said
    assert said.endswith("The audit does not hold.")
    assert "eve" in hdx("audit", "--tenant", "demo")[1]


def test_a_file_that_is_gone_is_found(home: Path, database_url: str) -> None:
    """Of one tenant, or cut, while the others are there: the end of both may be gone, unless that is said to be so."""

    async def seal_more() -> None:
        store = Store.open(database_url, 1)
        await store.audit.note(1, "ann", "did", "thing 3", "")
        await Sealer.of(store.seals, Settings(home=home)).seal()
        await store.close()

    asyncio.run(seal_more())
    path = home / "audit" / "tenant-1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert (len(lines), hdx("audit", "verify")[0]) == (2, 0)
    for change, finding in (
        (
            lambda: path.write_bytes(lines[0]),
            "tenant-1.jsonl ends with 3 notes, and the database has a checkpoint of 4",
        ),
        (path.unlink, "tenant-1.jsonl is not there, and the database has a checkpoint of 4"),
    ):
        change()
        code, said = hdx("audit", "verify")
        assert code == 1
        assert finding in said
        code, said = hdx("audit", "verify", "--without-files")
        assert code == 0
        assert "what was removed from the end cannot be told" in said


def test_an_export_is_verified_without_the_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the key that was printed; another one, or any line changed, removed or moved, and it does not hold."""
    key, path = hdx("audit", "key")[1], home.parent / "audit.jsonl"
    assert hdx("audit", "export", str(path))[0] == 0
    with pytest.raises(InvalidInput, match="cannot be made"):
        hdx("audit", "export", str(path))
    monkeypatch.setenv("HDX_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    assert hdx("audit", "verify", str(path), "--key", key)[0] == 0
    assert hdx("audit", "verify", str(path), "--key", Signer(b"1" * 32).public_key)[0] == 1
    lines = path.read_bytes().splitlines(keepends=True)
    assert [*orjson.loads(lines[0])] == ["log", "base"]
    places = [place for place, line in enumerate(lines) if b'"leaf"' in line or b'"hashes"' in line]
    assert len(places) == 6
    for place in places:
        changed = lines[place].replace(b"thing", b"theft").replace(b"gates", b"nobody").replace(b"time 1", b"time 2")
        for others in ([*lines[:place], changed, *lines[place + 1 :]], lines[:place] + lines[place + 1 :]):
            path.write_bytes(b"".join(others))
            code, said = hdx("audit", "verify", str(path), "--key", key)
            assert (code, "does not hold" in said) == (1, True), (place, said)
    path.write_bytes(b"".join([*lines[:4], lines[5], lines[4], *lines[6:]]))
    assert hdx("audit", "verify", str(path), "--key", key)[0] == 1
    path.write_bytes(b"nothing\n")
    with pytest.raises(ValueError, match=r"no exported audit|no line of"):
        hdx("audit", "verify", str(path), "--key", key)
