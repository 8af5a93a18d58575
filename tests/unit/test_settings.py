"""Rules of the settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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
    assert read_settings().knowledge.device == "cpu"
    lines = ["HDX_PROFILE=production", "HDX_PORT=9001", "HDX_HOST=127.0.0.2", *(f"{n}={v}" for n, v in SECRETS.items())]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("HDX_PORT", "9002")
    found = read_settings()
    assert (found.knowledge.device, found.host, found.port) == ("cuda", "127.0.0.2", 9002)
    assert environment(HDX_PORT="9003")["HDX_PORT"] == "9003"
    assert environment()["HDX_HOST"] == "127.0.0.2"


def test_secrets_do_not_show() -> None:
    """A printed settings object holds no secret."""
    settings = Settings(secret_key="very-secret", _env_file=None)
    assert "very-secret" not in f"{settings} {settings!r}"
    assert settings.home.is_absolute()
