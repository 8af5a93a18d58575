"""Scores by Ray Data in a process of its own, so that a test can kill it: `python -m tests.service.scorer`.

Arguments: folder of the members' files, source, target, rows of a part, and the detail.
"""

import sys
from pathlib import Path

from pydantic import TypeAdapter

from pipelines.detectors.base import Detail
from pipelines.machines.family import read_family
from pipelines.scoring.batch import Packed, score_many
from pipelines.scoring.plan import Options

WORKERS = 2


def packed(folder: Path) -> dict[str, Packed]:
    """Return the members that a test has written, one folder each."""
    return {
        member.name: Packed("1", {file.name: file.read_bytes() for file in sorted(member.iterdir())})
        for member in sorted(folder.iterdir())
    }


def told(done: int, total: int) -> None:
    """Print how far it is."""
    print(done, total, flush=True)


def main(members: str, source: str, target: str, rows: str, detail: Detail) -> None:
    """Score a source with two workers."""
    options = Options("", "", 0, detail, int(rows))
    score_many(read_family("generic"), Path(source), Path(target), packed(Path(members)), options, WORKERS, told)


if __name__ == "__main__":
    members, source, target, rows, detail = sys.argv[1:]
    main(members, source, target, rows, TypeAdapter[Detail](Detail).validate_python(detail))
