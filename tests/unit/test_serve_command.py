"""What `serve` finds in `.env`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import os, sys, types
scripts = types.ModuleType("ray.serve.scripts")
names = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_DASHBOARD_ADDRESS"
scripts.cli = lambda: print(*(os.environ.get(name) for name in names))
for name in ("ray", "ray.serve"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["ray.serve.scripts"] = scripts
from deployments.runtime.serve_command import main
main()
"""


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("", {}, "None None None"),
        ("HDX_RAY_AUTH_TOKEN=abc\nHDX_DASHBOARD_PORT=8266\n", {}, "token abc http://127.0.0.1:8266"),
        ("HDX_RAY_AUTH_TOKEN=abc\n", {"HDX_RAY_AUTH_TOKEN": "def"}, "token def None"),
        ("HDX_RAY_AUTH_TOKEN=abc\n", {"RAY_AUTH_TOKEN": "other", "RAY_DASHBOARD_ADDRESS": "a"}, "token other a"),
        ("HDX_RAY_AUTH_TOKEN=abc\n", {"RAY_AUTH_TOKEN_PATH": "/t"}, "None None None"),
    ],
)
def test_ray_is_told_what_env_names(tmp_path: Path, text: str, names: dict[str, str], found: str) -> None:
    """Its own names in the environment count before; the command itself is Ray's."""
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HDX_", "RAY_"))}
    plain["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=tmp_path, env=plain | names, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == found
