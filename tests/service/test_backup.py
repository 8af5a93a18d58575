"""`hdx backup`: what it holds, made while a service works, and what is left of one that dies or finds no room."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import make_url

from pipelines.detectors.bundle import Bundle
from pipelines.errors import Conflict, InvalidInput, Unavailable
from pipelines.knowledge.records import Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from pipelines.promotion.mlflow_client import Release
from serve_app.backups import making
from serve_app.backups.copying import UNFINISHED
from serve_app.backups.dumps import is_half
from serve_app.backups.making import make
from serve_app.backups.manifest import ARCHIVE, HDX, NAME, Manifest, read_manifest
from serve_app.backups.mark import mark_of
from serve_app.backups.restoring import examine, restore
from serve_app.local.bootstrap import database
from serve_app.local.embedded import start as start_postgres
from serve_app.local.permissions import private_home
from serve_app.shared.credentials import verify_password
from serve_app.store.migrate import create_database, downgrade, migrate
from serve_app.store.repository import Store
from tests.service.archives import spans
from tests.service.backups import KILL, PASSWORD, Kept, counts, fill, guards, register, scalars, served
from tests.service.test_store_parts import Plant

NOTHING = "lambda *_, **__: None"


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
    code, said = target.hdx("audit", "verify")
    assert (code, said.splitlines()[-1]) == (0, "The audit holds."), said
    with database(target.settings) as (url, registry):
        assert counts(url) == counts(source.url)
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
