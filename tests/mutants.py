"""Changes decisions in the code and counts the changes that tests notice; `make mutants` runs it.

mutmut makes and tries the mutants that `[tool.mutmut]` in pyproject.toml asks for. Here they are drawn, the survivors
are held against `mutants.yaml`, which says of each why it lives, and the score is printed.
"""

import fcntl
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import click
import libcst as cst
import yaml
from mutmut import __main__ as mutmut
from mutmut.mutation import file_mutation
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

REASONS = Path(__file__).with_suffix(".yaml")
LEAST = 0.9
# The whole run, its two first steps included: what is not tried by then is said and not counted.
LIMIT_S = 15 * 60 - 30
# Of what is no operator, number or branch, but an argument, a word or an assigned value: so many a file, always those.
# Of the store, whose tests wait for a database, so many decisions a file, too. All fit into the time there is.
DRAWN, DRAWN_OF_STORE, DECISIONS_OF_STORE = 6, 2, 14
PLAIN = (cst.Call, cst.BaseString, cst.Assign, cst.AnnAssign)
NOTICED = ("killed", "timeout", "segfault")


def drawn(filename: str, *arguments: Any) -> tuple[Any, ...]:
    """Return what mutmut makes of a file: each changed decision, and some of the changed values."""
    module, mutations, *ignored = every(filename, *arguments)
    mutations = [each for each in mutations if each.contained_by_top_level_function is not None]
    draw, of_store = Random(filename), "/store/" in filename  # noqa: S311  # the same draw each time is what is wanted
    values = [place for place, each in enumerate(mutations) if isinstance(each.original_node, PLAIN)]
    decisions = [place for place in range(len(mutations)) if place not in values]
    kept = set(draw.sample(values, min(DRAWN_OF_STORE if of_store else DRAWN, len(values))))
    kept |= set(draw.sample(decisions, min(DECISIONS_OF_STORE, len(decisions))) if of_store else decisions)
    return module, [each for place, each in enumerate(mutations) if place in kept], *ignored


every = file_mutation.create_mutations


def own_folder(root: Path) -> None:
    """Give a process temporary files of its own: each pytest closes the folder that all share, over running servers."""
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(dir=root)


@contextmanager
def one_postgres(root: Path) -> Iterator[None]:
    """Let the first test run start a server that all others attach to: whoever holds its lock may stop it."""
    folder = root / "postgres"
    os.environ["TEST_POSTGRES_FOLDER"] = str(folder)
    with folder.with_name("postgres.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.kill(int((folder / "postmaster.pid").read_text(encoding="ascii").split()[0]), signal.SIGINT)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """End what runs inside as Ctrl-C does, which a background job of a shell ignores; pytest itself has the alarm."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def outcomes() -> Iterator[tuple[str, str, bool | None]]:
    """Yield the file of each mutant, what it changes, and whether a test noticed; None where none was tried."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            lines = get_diff_for_mutant(name, path=path).splitlines()[3:]
            became = [" ".join(line[1:].split()) for line in lines if line[0] == "+"]
            was = [" ".join(line[1:].split()) for line in lines if line[0] == "-"]
            change = " ".join(became) or f"without {' '.join(was)}"
            yield str(path), change, None if code is None else status_by_exit_code[code] in NOTICED


def main() -> int:
    """Run the mutants, print the score of each file and of all, and name the survivors that nobody has explained."""
    setattr(file_mutation, "create_mutations", drawn)  # noqa: B010  # there is no setting for it
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        root = Path(name)
        root.chmod(0o711)  # PostgreSQL's own user passes
        own_folder(root)
        os.register_at_fork(after_in_child=lambda: own_folder(root))
        with one_postgres(root), suppress(KeyboardInterrupt, click.Abort), bounded(LIMIT_S):
            mutmut.cli(["run", "--max-children", "2"], standalone_mode=False)
    explained = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    made, noticed, unexplained = Counter[str](), Counter[str](), []
    found = list(outcomes())
    tried = [each for each in found if each[2] is not None]
    if len(tried) < len(found):
        print(f"{len(found) - len(tried)} of {len(found)} mutants were not tried in the time there is")
    for path, change, was_noticed in tried:
        made[path] += 1
        noticed[path] += bool(was_noticed)
        if not was_noticed and change not in explained.get(path, {}):
            unexplained.append((path, change))
    for path, count in sorted(made.items()):
        print(f"{noticed[path]:4} of {count:4} noticed  {path}")
    for path, change in unexplained:
        print(f"survives, and {REASONS.name} does not say why: {path}: {change}")
    score = noticed.total() / max(1, len(tried))
    print(f"{noticed.total()} of {len(tried)} mutants noticed: {score:.1%}, at least {LEAST:.0%} asked")
    return int(score < LEAST)


if __name__ == "__main__":
    sys.exit(main())
