"""Writes the locks: `python -m supply.lock UV` has uv look up, in the registry, every file of every pinned version."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from supply.locked import BY_MACHINE, DEVELOPMENT, HERE, RUNTIME, Requirement, read

# What the pinned versions run on; Source: soupsieve 4.1.3 wants 3.11.5, the newest demand of all of them.
PYTHON = "3.11.5"
HEAD = """\
# Written by `make lock` from pyproject.toml and constraints.txt: every file of each version, for every platform.
# docs/supply.md says how it is installed. What stands behind `#` has no hash, as its build differs by machine.
"""


def resolve(uv: str, *extras: str) -> list[Requirement]:
    """Return what uv resolves for all platforms, with the hashes of all files that the registry has."""
    wanted = [word for extra in extras for word in ("--extra", extra)]
    command = [uv, "pip", "compile", "--quiet", "pyproject.toml", "-c", "constraints.txt", *wanted]
    command += ["--universal", "--python-version", PYTHON, "--no-build", "--generate-hashes"]
    command += ["--no-header", "--no-emit-index-url", "--annotation-style", "line"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)  # noqa: S603
    return read(done.stdout)


def without_builds(found: list[Requirement]) -> list[Requirement]:
    """Take the hashes off torch, and leave out what only one build of it brings."""
    dropped = {"torch"}
    for _ in found:
        dropped |= {one.name for one in found if BY_MACHINE.match(one.name) and set(one.asked_by) <= dropped}
    for one in found:
        if one.name == "torch":
            one.hashes = []
    return [one for one in found if one.name == "torch" or one.name not in dropped]


def licensed(one: Requirement) -> Requirement:
    """Add the licence that the installed library declares: an expression of SPDX, a short name, classifiers."""
    try:
        declared = metadata.metadata(one.name)
    except metadata.PackageNotFoundError:
        return one  # of another platform
    own = (declared.get_all("License") or [""])[0].strip()
    classes = [line.split(" :: ")[-1] for line in declared.get_all("Classifier") or [] if line.startswith("License ::")]
    short = own if own and len(own) <= 60 and "\n" not in own and own != "UNKNOWN" else ""
    one.spdx = "License-Expression" in declared
    one.licence = declared["License-Expression"] if one.spdx else short or ", ".join(classes)
    return one


def write(path: Path, found: list[Requirement]) -> None:
    """Write a lock."""
    path.write_text(HEAD + "".join(f"{line}\n" for one in found for line in licensed(one).lines()), encoding="utf-8")


def main(uv: str) -> None:
    """Write the lock of what HDX runs with, and that of what its tests need beyond."""
    runtime = without_builds(resolve(uv))
    known = {(one.name, one.marker) for one in runtime}
    write(RUNTIME, runtime)
    beyond = [one for one in without_builds(resolve(uv, "dev", "mutants")) if (one.name, one.marker) not in known]
    write(DEVELOPMENT, beyond)


if __name__ == "__main__":
    main(sys.argv[1])
