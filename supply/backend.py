"""Builds by setuptools; the same files make the same wheel, byte for byte, with its bill of materials in it.

Source: PEP 517 (the functions' names), PEP 770 (`.dist-info/sboms/`), the wheel's specification (RECORD, files of
`.dist-info` last). What would differ by machine is taken out: when files were written, who may read them, their
order, and what an earlier build left behind.
"""

import base64
import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from supply.locked import RUNTIME, read
from supply.sbom import bill

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

# The first moment that a zip file can tell. Source: the format of zip files; reproducible-builds.org for the variable.
EARLIEST = 315_532_800


@contextmanager
def clean_build() -> Iterator[None]:
    """Have setuptools work in a folder of its own, so that nothing of an earlier build gets in."""
    before = os.environ.get("DIST_EXTRA_CONFIG")
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "setup.cfg")
        settings.write_text(f"[build]\nbuild_base = {folder}\n[egg_info]\negg_base = {folder}\n", encoding="utf-8")
        os.environ["DIST_EXTRA_CONFIG"] = str(settings)
        try:
            yield
        finally:
            os.environ.pop("DIST_EXTRA_CONFIG")
            if before is not None:
                os.environ["DIST_EXTRA_CONFIG"] = before


def record(files: dict[str, bytes], name: str) -> bytes:
    """Return the list of a wheel's files with their digests, itself without one."""
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for path, content in files.items()
    ]
    return "".join([*lines, f"{name},,\n"]).encode()


def pack(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip file that tells of its files only name and content."""
    moment = max(EARLIEST, int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, time.gmtime(moment)[:6])
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            out.writestr(entry, content)


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel, add the bill of materials and pack it anew."""
    with tempfile.TemporaryDirectory() as folder:
        with clean_build():
            name: str = build_meta.build_wheel(folder, config_settings, metadata_directory)
        with zipfile.ZipFile(Path(folder, name)) as built:
            files = {path: built.read(path) for path in built.namelist() if not path.endswith("/")}
    project, version = name.split("-")[:2]
    told = f"{project}-{version}.dist-info"
    files.pop(f"{told}/RECORD")
    files[f"{told}/sboms/{project}.cdx.json"] = bill(version, read(RUNTIME.read_text(encoding="utf-8"))).encode()
    files = {path: files[path] for path in sorted(files, key=lambda path: (path.startswith(told), path))}
    files[f"{told}/RECORD"] = record(files, f"{told}/RECORD")
    pack(Path(wheel_directory, name), files)
    return name
