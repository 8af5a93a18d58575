"""Rules of the house that no linter holds."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_mlflow_is_the_library() -> None:
    """The folder `mlflow/` holds no Python, so that `import mlflow` is the installed library."""
    assert not list((ROOT / "mlflow").rglob("*.py"))
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    assert ROOT / "mlflow" not in Path(spec.origin).parents


def test_constraints_carry_no_address() -> None:
    """The pinned versions name no index, no host and no path."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "/" in line or line.startswith("-")] == []
    assert all("==" in line for line in lines)


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, `from a import b` as `a` and as `a.b`, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_ray_serve_stands_in_its_rooms() -> None:
    """Ray Serve is imported by deployments, by replicas and by the file that composes them, and nowhere else."""
    rooms = ("deployments/", "serve_app/replicas/", "serve_app/app.py")
    found = [
        str(path.relative_to(ROOT))
        for floor in ("configs", "pipelines", "deployments", "serve_app")
        for path in (ROOT / floor).rglob("*.py")
        if any(name == "ray.serve" or name.startswith("ray.serve.") for name in imports_of(path))
    ]
    assert found
    assert [name for name in found if not name.startswith(rooms)] == []
