"""Rules of the house that no linter holds."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_mlflow_is_the_library() -> None:
    """The folder `mlflow/` holds no Python, so that `import mlflow` is the installed library."""
    assert not list((ROOT / "mlflow").rglob("*.py"))
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    assert ROOT / "mlflow" not in Path(spec.origin).parents


def test_every_file_says_where_it_stands() -> None:
    """Each Python file opens with where it stands in the request path and why it exists."""
    silent = []
    for floor in ("configs", "pipelines", "deployments", "serve_app"):
        for path in (ROOT / floor).rglob("*.py"):
            opening = path.read_text(encoding="utf-8").split('"""')[1]
            if "\n\nExists so that " not in opening:
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_constraints_carry_no_address() -> None:
    """The pinned versions name no index, no host and no path."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "/" in line or line.startswith("-")] == []
    assert all("==" in line for line in lines)
