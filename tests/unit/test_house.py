"""Rules of the house that no linter holds."""

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import unknown_names

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


LIMITS = {"timeout", "timeout_at", "TaskGroup", "create_task_group", "fail_after", "move_on_after", "CancelScope"}


def yields_within(node: ast.AST, limited: bool = False) -> Iterator[int]:
    """Yield the line of every `yield` that stands inside a time-out or a task group of its own function."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        limited = False
    if limited and isinstance(node, ast.Yield | ast.YieldFrom):
        yield node.lineno
    if isinstance(node, ast.With | ast.AsyncWith):
        calls = [item.context_expr.func for item in node.items if isinstance(item.context_expr, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
        limited = limited or bool(LIMITS & names)
    for child in ast.iter_child_nodes(node):
        yield from yields_within(child, limited)


def test_nothing_is_yielded_inside_a_time_limit() -> None:
    """A time-out or task group that spans a `yield` cancels whoever reads the generator (PEP 789)."""
    wrong = "async def f():\n    async with g(), asyncio.timeout(1):\n        for x in y:\n            yield x\n"
    assert list(yields_within(ast.parse(wrong))) == [4]
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for floor in ("configs", "pipelines", "deployments", "serve_app")
        for path in (ROOT / floor).rglob("*.py")
        for line in yields_within(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


# --- what is written about the house


def tracked(pattern: str) -> list[Path]:
    """Return the files that belong to the house; a copy without its history has no list, and is not asked."""
    done = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a clone")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def text_of(name: str) -> str:
    """Return a file's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_files_that_contributing_names_are_there() -> None:
    """Every path in backticks or behind a link stands in the tree, and every `make` target in the Makefile."""
    text = text_of("CONTRIBUTING.md")
    paths = set(re.findall(r"`([\w./-]+(?:\.\w+|/))`", text)) | set(re.findall(r"\]\(([\w./-]+)\)", text))
    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= targets
    assert all(f"make {name}" in text for name in ("help", "check", "test", "run", "bench"))


def test_readme_lists_what_make_help_lists() -> None:
    """Each command of the Makefile that has a line of help stands in the README's table."""
    told = re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE)
    assert len(told) > 10
    assert [name for name in told if f"| `make {name}` |" not in text_of("README.md")] == []


def test_a_newcomer_finds_twenty_answers() -> None:
    """Each question of the table leads to a file that holds the name it gives, as a definition, a key or a value."""
    rows = re.findall(r"^\| ([^|]+\?) \| `([^`]+)` \| `([^`]+)` \|$", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert len(rows) == 20
    for question, path, name in rows:
        meant = rf"^\s*(?:(?:async )?def|class) {name}\b|^\s*{name}\s*[:=]"
        assert re.search(meant, text_of(path), re.MULTILINE), f"{question} {path} has no {name}"


def test_a_setting_is_named_and_a_misspelt_one_refused() -> None:
    """The example of how a setting is read is one, and the example of what stops the start stops it."""
    right, wrong = re.findall(r"`(HDX_LIMITS__\w+)`", text_of("CONTRIBUTING.md"))
    assert unknown_names([right, wrong]) == [wrong]


TERMS = """
family system channel window feature baseline grade detector member vote ensemble quorum abstention calibration
attribution severity finding diagnosis feedback champion challenger live rollout backtest shadow canary evidence
gate drift chart reference document passage citation generator degraded tenant gateway micro-batch spread packed
promoter indexer normal commissioning summary distance hypothesis rule alarm watch event worker
job
"""
PHRASES = (
    "answer feedback",
    "feature table",
    "probe window",
    "hash bucket",
    "tenant model",
    "fast path",
    "operating point",
    "late window",
    "idempotency key",
)


def test_the_glossary_has_every_term_in_one_sentence() -> None:
    """A term of the field that code and messages use is explained once; the README leads there."""
    entries = re.findall(r"^- \*\*([^*]+)\*\*: ([^\n]+(?:\n  [^\n]+)*)", text_of("docs/glossary.md"), re.MULTILINE)
    names = [name for name, _ in entries]
    assert sorted({*TERMS.split(), *PHRASES}) == sorted(names)
    assert [name for name, said in entries if not said.endswith(".") or ". " in said] == []
    assert "docs/glossary.md" in text_of("README.md")
    assert "CONTRIBUTING.md" in text_of("README.md")


def test_architecture_names_every_room() -> None:
    """The table of rooms is the tree, each package below a floor once, and so are the folders of tests."""
    text = text_of("docs/architecture.md")
    named = re.findall(r"^\| `((?:pipelines|deployments|serve_app)/\w+)` \|", text, re.MULTILINE)
    floors = ("pipelines", "deployments", "serve_app")
    rooms = [str(path.parent.relative_to(ROOT)) for floor in floors for path in (ROOT / floor).glob("*/__init__.py")]
    assert sorted(named) == sorted(rooms)
    tests = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert tests == set(
        re.findall(r"`(\w+)`", text.partition("Tests stand by what they need:")[2].partition("\n\n")[0])
    )


def test_prose_is_read_without_scrolling() -> None:
    """Lines of Markdown stay under 125 characters, tables and commands included."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*.md")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) >= 125
    ]
    assert long == []


# --- names


def python_files() -> list[Path]:
    """Return the modules of all floors, of the tests and of the benchmarks."""
    return [path for path in tracked("*.py") if path.suffix == ".py"]


# Words that name nothing in hydraulics or in the field, and whole names that the field uses for something else.
PRIVATE_WORDS = {"lane", "edge", "follower", "wish", "standing", "rehearsal", "shade", "sheet", "checkup", "tried"}
PRIVATE_NAMES = {"Course", "Move", "Gate", "Front", "Lot", "Owners", "_try"}
PRIVATE_MODULES = {"front", "listening", "calls", "owners", "own", "orders", "pool", "cusum", "watcher", "lot"}
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def words_of(name: str) -> set[str]:
    """Return the words of an identifier in either manner of writing."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def private(path: Path) -> list[str]:
    """Return the private names among those of a module and of what it defines; a test's name is a sentence."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = [node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)]
    found = [name for name in defined if words_of(name) & PRIVATE_WORDS and not name.startswith("test_")]
    found += PRIVATE_NAMES & set(defined)
    if path.parts[len(ROOT.parts)] not in ("tests", "benchmarks"):
        found += PRIVATE_MODULES & {path.stem}
    return found + [path.stem] * bool(words_of(path.stem) & PRIVATE_WORDS)


def test_names_are_those_of_the_field() -> None:
    """No class, function or module bears a private word where the field has a term."""
    found = {str(path.relative_to(ROOT)): names for path in python_files() if (names := private(path))}
    assert found == {}


def test_a_base_name_stands_once_in_a_folder() -> None:
    """No folder holds a module and a package of one name."""
    packages = {path.parent for path in python_files() if path.name == "__init__.py"}
    assert [str(path.relative_to(ROOT)) for path in python_files() if path.with_suffix("") in packages] == []


def test_docstrings_of_modules_follow_no_formula() -> None:
    """A module says what it is responsible for, in its own words."""
    said = {path: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in python_files()}
    assert [str(path.relative_to(ROOT)) for path, text in said.items() if "Exists so that" in text] == []
