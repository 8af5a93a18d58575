"""Rules of files that are made to cost much: each ends within its bounds, with the reason, and nobody waits for it."""

import asyncio
import resource
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from configs.settings import Documents
from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest import document_reader
from pipelines.knowledge.ingest.document_reader import Beyond, Bounds, Killed, read_apart
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.replicas import indexer as indexers
from serve_app.shared import logs
from serve_app.store.migrate import beside, create_database, migrate
from tests.service.desk import Desk
from tests.service.hostile_documents import HOSTILE, docx, paragraph

TIGHT = Bounds(1, 300 << 20, 200_000_000, 200_000_000)
ROOMY = TIGHT._replace(seconds=20)


def readers() -> list[psutil.Process]:
    """Return the processes that read documents for this one."""
    return [each for each in psutil.Process().children() if "document_process" in " ".join(each.cmdline())]


def readers_s() -> float:
    """Return how many seconds of a processor the processes have taken that this one began and that have ended."""
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


@pytest.mark.parametrize("name", HOSTILE)
def test_each_ends_within_its_bounds(name: str) -> None:
    """Read or refused in the time of the processor it is given, whatever it is made of; no process is left."""
    content, begun = HOSTILE[name](), readers_s()
    try:
        read_apart(name, content, TIGHT)
    except (InvalidInput, Beyond) as error:
        assert "must" in str(error)
    assert readers_s() - begun < 3 * TIGHT.seconds
    assert readers() == []


@pytest.mark.parametrize(
    ("name", "bounds", "reason"),
    [
        ("entities.docx", ROOMY, "must not declare a document type"),
        ("entities-16.docx", ROOMY, "must not declare a document type"),
        ("renamed.docx", ROOMY, "must not declare a document type"),
        ("sections.md", TIGHT._replace(seconds=60, memory_bytes=2 << 30), "must not have more than 100000 passages"),
        ("elements.docx", ROOMY, "must not have more than 1000000 elements"),
        ("bomb.docx", ROOMY, "must not unpack to more than 200000000 bytes"),
        ("beside.docx", ROOMY, "must not unpack to more than 200000000 bytes"),
        ("table.docx", TIGHT, "must be read within 1 s of a processor"),
        ("forms.pdf", TIGHT._replace(seconds=20), "must be readable within 20 s and 300 MB of memory"),
        ("text.pdf", TIGHT._replace(seconds=20), "must be readable within 20 s and 300 MB of memory"),
        ("arrows.md", TIGHT._replace(seconds=20), "must be read within 300 MB of memory"),
        ("bool.md", ROOMY._replace(text_bytes=100), "must not hold more than 100 bytes of text"),
    ],
)
def test_the_reason_names_the_bound(name: str, bounds: Bounds, reason: str) -> None:
    """In words that whoever uploaded it understands."""
    with pytest.raises((InvalidInput, Beyond), match=reason):
        read_apart(name, HOSTILE[name](), bounds)


def test_what_is_read_apart_is_what_is_read_here() -> None:
    """Document and passages are those that `prepare` makes, text by text."""
    from pipelines.knowledge.ingest.ingest import prepare

    said = "".join(f"<h2>Part {n}</h2><p>{'The pump turns at 17 bar. ' * 60}</p>" for n in range(20))
    read = read_apart("press.html", said.encode(), ROOMY)
    document, passages = prepare("press.html", said.encode())
    assert len(passages) > 20
    assert (read.document, read.passages(0, len(passages))) == (document, passages)


def test_the_process_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this process's environment is in its own, and the file's name is not on its command line."""
    spy = tmp_path / "spy.py"
    spy.write_text("import json, os, sys; print(json.dumps({'rule': f'{dict(os.environ)} {sys.argv}'}))")
    monkeypatch.setattr(document_reader, "PROCESS", spy)
    monkeypatch.setenv("HDX_SECRET_KEY", "never told")
    with pytest.raises(InvalidInput) as refused:
        read_apart("secret.md", b"The pump turns.", TIGHT)
    assert "LANG" in refused.value.rule
    assert not {"never told", "secret.md"} & set(refused.value.rule.split("'"))


@pytest.mark.parametrize("told", ["", "{", "{}", "[]", "[1, 2]", '["x", []]', "\\0", "[" * 100_000])
def test_what_a_taken_process_tells_is_checked(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it writes is a broken file, and never an error of this process."""
    spy = tmp_path / "spy.py"
    spy.write_text(f"print({told!r}, end='')")
    monkeypatch.setattr(document_reader, "PROCESS", spy)
    with pytest.raises(InvalidInput, match="broken"):
        read_apart("press.md", b"The pump turns.", TIGHT)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_library_that_falls_is_a_broken_file(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the signal in its reason."""
    spy = tmp_path / "spy.py"
    spy.write_text(f"import os; os.kill(os.getpid(), {number.value})")
    monkeypatch.setattr(document_reader, "PROCESS", spy)
    with pytest.raises(InvalidInput, match=number.name):
        read_apart("press.md", b"The pump turns.", TIGHT)


def test_a_reading_that_nobody_wants_is_killed() -> None:
    """At once, though it had a minute left."""
    content, begun = HOSTILE["table.docx"](), time.monotonic()
    with pytest.raises(Killed):
        read_apart("table.docx", content, TIGHT._replace(seconds=60), lambda: time.monotonic() > begun + 1)
    assert time.monotonic() - begun < 20
    assert readers() == []


# --- in the indexer


@pytest.fixture(scope="module")
def own_url(embedded: EmbeddedPostgres) -> str:
    """A database of this module's own: the indexer works for all tenants that it finds."""
    server = embedded.url("postgres")
    create_database(server, "hostile")
    migrate(beside(server, "hostile"))
    return beside(server, "hostile")


@pytest.fixture
async def desk(own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """An indexer at work, whose documents may take six seconds."""
    monkeypatch.setattr(indexers, "keep_to_node_address", lambda: None)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    monkeypatch.setattr(indexers, "PAUSE_S", 0.1)
    opened = await Desk.open(own_url, tmp_path, documents=Documents(read_s=6))
    await opened.upload("warm.md")
    await opened.finish()  # opens the index
    await opened.indexer.check_health()
    yield opened
    opened.indexer._sweeping.cancel()
    await opened.close()


async def until(desk: Desk, key: str, *states: str) -> str:
    """Wait until a document has one of some states; return the reason of its failure."""
    async with asyncio.timeout(180):
        while (found := await desk.state(key)).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found.reason


async def test_nobody_waits_for_another_tenants_files(desk: Desk) -> None:
    """With three tenants' hostile files in work and more of them waiting, a page is ready long before they are done."""
    hostile = []
    for _ in range(3):
        other = await desk.store.tenants.ensure(uuid4().hex)
        for name in ("forms.pdf", "anchors.html", "paragraphs.docx", "table.docx"):
            key = await desk.upload_file(name, HOSTILE[name](), other)
            desk.indexer.announce(other, key)
            hostile.append((other, key))
    for number in range(3):
        own = await desk.upload(f"own-{number}.md")
        desk.indexer.announce(desk.tenant_id, own)
        await until(desk, own, "ready")
    states = [(await desk.store.documents.get(*each)).state for each in hostile]
    assert sum(state in ("queued", "indexing") for state in states) >= len(hostile) / 2, states
    assert len(readers()) <= 4


async def test_a_file_that_costs_too_much_fails_with_its_reason(desk: Desk) -> None:
    """Once, and not three times: it would cost the same again."""
    key = await desk.upload_file("table.docx", HOSTILE["table.docx"]())
    desk.indexer.announce(desk.tenant_id, key)
    assert "must be read within 6 s of a processor" in await until(desk, key, "failed")
    assert (await desk.state(key)).attempts == 0


async def test_a_document_that_needs_longer_gets_it(desk: Desk) -> None:
    """What is not read at once is read beside others that are not, to its end."""
    key = await desk.upload_file("long.docx", docx_of(25_000))
    desk.indexer.announce(desk.tenant_id, key)
    assert await until(desk, key, "ready", "failed") == ""


def docx_of(paragraphs: int) -> bytes:
    """Return a document that takes some seconds."""
    text = "".join(paragraph(f"Valve {n} opens.") for n in range(paragraphs // 10)) + "<w:p/>" * paragraphs
    from tests.service.hostile_documents import body

    return docx(body(text))


async def test_removal_ends_a_reading(desk: Desk) -> None:
    """It is answered at once, and the process is no more."""
    key = await desk.upload_file("table.docx", HOSTILE["table.docx"]())
    desk.indexer.announce(desk.tenant_id, key)
    await until(desk, key, "indexing")
    await desk.store.documents.remove(desk.tenant_id, key)
    await desk.indexer.settle(desk.tenant_id, key)
    assert readers() == []
    assert "table.docx" not in await desk.states()


async def test_a_reader_that_somebody_kills_is_begun_again(desk: Desk) -> None:
    """It may have been the system, without memory: that once is no document's fault."""
    key = await desk.upload_file("long.docx", docx_of(8_000))
    desk.indexer.announce(desk.tenant_id, key)
    async with asyncio.timeout(60):
        while not readers():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    readers()[0].kill()
    await until(desk, key, "ready")
    assert (await desk.state(key)).attempts == 1
