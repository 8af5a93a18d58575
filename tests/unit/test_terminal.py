"""What a newcomer reads on the terminal."""

from pathlib import Path

from serve_app.cli import users
from serve_app.local.demo import Login
from serve_app.local.doctor import examine
from serve_app.local.terminal import first_start, screen
from tests.contract.stand_ins import settings_for
from tests.serve.service import PORTS, free_ports

ROOT = Path(__file__).parents[2]
CURE = "hdx user password admin"


def test_a_lost_password_has_a_way_back(tmp_path: Path) -> None:
    """Where the password is not shown, screen, doctor, `hdx user --help` and README name what sets a new one."""
    ports = {name.lower(): port for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    settings = settings_for(tmp_path, **ports)
    assert CURE in screen(settings, Login("admin", None))
    assert CURE not in screen(settings, Login("admin", "fresh"))
    assert any(CURE in finding.words for finding in examine(settings))
    assert "hdx user password" in str(users.app.info.help)
    assert CURE in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_first_start_says_what_it_costs(tmp_path: Path) -> None:
    """Time, disk with its place, and memory stand on the screen before the work begins."""
    said = first_start(settings_for(tmp_path))
    assert all(word in said for word in ("minutes", "MB in", str(tmp_path), "GB of memory"))
