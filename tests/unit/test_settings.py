"""Rules of the settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.oidc import Oidc
from configs.settings import Settings, environment, new_secrets, read_settings, unknown_names

SECRETS = new_secrets()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in environment() if name.startswith("HDX_")]:
        monkeypatch.delenv(name)


def test_a_misspelt_name_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name is refused and named, on any level; a known one is not."""
    monkeypatch.setenv("HDX_PROT", "9000")
    with pytest.raises(ValueError, match="HDX_PROT"):
        read_settings()
    known = ["HDX_PORT", "HDX_DATABASE__URL", "HDX_KNOWLEDGE__DEVICE"]
    assert unknown_names([*known, "HDX_DATABASE__URI", "HDX_PORT__X"]) == ["HDX_DATABASE__URI", "HDX_PORT__X"]


def test_an_unknown_name_in_env_file_stops_the_start(tmp_path: Path) -> None:
    """`.env` is held to the same rule."""
    (tmp_path / ".env").write_text("HDX_PROT=9000\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="prot"):
        read_settings()


def test_default_secrets_are_for_laptops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Production refuses to start while a secret is left at its default, and names it."""
    monkeypatch.setenv("HDX_PROFILE", "production")
    with pytest.raises(ValidationError, match="HDX_SECRET_KEY"):
        read_settings()
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert read_settings().profile == "production"


def test_sources_override_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment wins over `.env`, which wins over the profile's YAML, which wins over the base."""
    assert read_settings().knowledge.generator == "extractive"
    lines = ["HDX_PROFILE=production", "HDX_PORT=9001", "HDX_HOST=127.0.0.2", *(f"{n}={v}" for n, v in SECRETS.items())]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("HDX_PORT", "9002")
    found = read_settings()
    assert (found.knowledge.generator, found.host, found.port) == ("openai", "127.0.0.2", 9002)
    assert environment(HDX_PORT="9003")["HDX_PORT"] == "9003"
    assert environment()["HDX_HOST"] == "127.0.0.2"


def test_secrets_do_not_show() -> None:
    """A printed settings object holds no secret."""
    settings = Settings(secret_key="very-secret", _env_file=None)
    assert "very-secret" not in f"{settings} {settings!r}"
    assert settings.home.is_absolute()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("archive", "{home}/archive"),
        ("old/days", "{home}/old/days"),
        ("/data/days", "/data/days"),
        ("s3://key:very-secret@bucket/hdx?region=x", "s3://key:very-secret@bucket/hdx?region=x"),
        ("off", None),
    ],
)
def test_the_archive_lies_in_the_home_or_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, found: str | None
) -> None:
    """A folder is one of the home unless it is named from the root; an address stays, and its secrets are not shown."""
    assert Settings(home=tmp_path, _env_file=None).archive_url == f"{tmp_path}/archive"
    monkeypatch.setenv("HDX_RETENTION__ARCHIVE", given)
    settings = Settings(home=tmp_path, _env_file=None)
    assert settings.archive_url == (found and found.format(home=tmp_path))
    assert "very-secret" not in repr(settings)


@pytest.mark.parametrize("left", SECRETS)
def test_the_secret_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """Production names the one secret that was left out and no other, and shows none."""
    monkeypatch.setenv("HDX_PROFILE", "production")
    given = {name: value for name, value in SECRETS.items() if name != left}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        read_settings()
    said = str(raised.value)
    assert f"set {left}" in said
    assert not [word for word in (*given, *given.values()) if word in said]


def test_sources_are_merged_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """One field set in the environment leaves its neighbours to the profile's YAML, and theirs to the defaults."""
    for name, value in {**SECRETS, "HDX_PROFILE": "production", "HDX_KNOWLEDGE__DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    knowledge = read_settings().knowledge
    assert (knowledge.device, knowledge.generator, knowledge.timeout_s) == ("cpu", "openai", 20)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "0"), ("PORT", "eighty"), ("TOKENS__ACCESS_MINUTES", "60"), ("PROFILE", "staging")],
)
def test_a_value_that_breaks_its_rule_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Each value is checked before anything starts."""
    monkeypatch.setenv(f"HDX_{name}", value)
    with pytest.raises(ValidationError):
        read_settings()


def test_settings_are_frozen_to_their_leaves() -> None:
    """Nobody changes a setting after the start, in whatever section it stands."""
    settings = read_settings()
    for part, name in ((settings, "port"), (settings.models, "quorum")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 1)


ISSUER = "https://id.example"


@pytest.mark.parametrize(
    "given",
    [
        {"issuer": ISSUER},
        {"issuer": "http://id.example", "client_id": "x"},
        {"issuer": f"{ISSUER}?a=b", "client_id": "x"},
        {"issuer": "https://a b", "client_id": "x"},
        {"issuer": "https://me@id.example", "client_id": "x"},
        {"issuer": "id.example", "client_id": "x"},
        {"issuer": ISSUER, "client_id": "x", "scopes": "email"},
        {"issuer": ISSUER, "client_id": "x", "redirect_uri": "http://hdx.example/"},
    ],
)
def test_settings_that_nobody_can_log_in_by(given: dict[str, str]) -> None:
    """Stop the start; http is for this machine alone."""
    with pytest.raises(ValidationError):
        Oidc.model_validate(given)
    assert Oidc(issuer="http://127.0.0.1:5001/", client_id="x").issuer
