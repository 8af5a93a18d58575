"""The served OpenAPI held against the application: whatever Schemathesis draws from it, as everybody who may call.

`make test-contract` draws 20,000 cases; here are some, always the same.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from schemathesis.python.asgi import shutdown_lifespans

from serve_app.local.embedded import EmbeddedPostgres
from serve_app.shared import logs
from serve_app.store.migrate import beside, create_database, migrate
from tests.contract.generated import CALLERS, Application, settings_of, wrong_in

CASES = int(os.environ.get("CASES", "0"))
# Of each operation by chance beside those that its schema's bounds make, in the short form and in the long one.
FEW, MANY = 1, 30
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@pytest.fixture(scope="module")
def own_url(embedded: EmbeddedPostgres) -> str:
    """A database of this module's own."""
    server = embedded.url("postgres")
    create_database(server, "generated")
    migrate(beside(server, "generated"))
    return beside(server, "generated")


@pytest.fixture
def application(own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """The application, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("HDX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "configure", lambda _: None)
    monkeypatch.setattr(logs, "write", lambda *_, **__: None)
    yield Application(own_url, tmp_path)
    shutdown_lifespans()


@pytest.mark.skipif(CASES > 0, reason="the long form holds all of it")
@pytest.mark.parametrize(("caller", "phase", "least"), [("admin", "coverage", 1500), ("nobody", "fuzzing", 50)])
def test_answers_are_what_the_contract_says(application: Application, caller: str, phase: str, least: int) -> None:
    """Every check of Schemathesis: on the bounds of every operation's schema, and on cases by a seed that stays."""
    assert list(wrong_in(application, settings_of(application, caller, 1, FEW, phase))) == []
    assert application.requests > least


@pytest.mark.skipif(CASES == 0, reason="`make test-contract` runs it, for minutes")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("caller", CALLERS)
def test_no_case_fails(application: Application, caller: str) -> None:
    """In all phases, of bounds and of chance, alone and one after the other, as many as are asked for."""
    seed = 0
    while application.requests * len(CALLERS) < CASES:
        seed += 1
        config = settings_of(application, caller, seed, MANY, *(PHASES if seed == 1 else PHASES[2:]))
        assert list(wrong_in(application, config)) == []


def test_a_bug_is_noticed(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that no bug breaks would be none: here an answer leaves out what its schema requires."""
    monkeypatch.setattr("serve_app.api.systems.units_of", lambda _: None)
    config = settings_of(application, "admin", 1, FEW, "fuzzing")
    assert any("response_schema_conformance" in wrong for wrong in wrong_in(application, config))
