"""`hdx family` on a real database: a kind is copied, defined, changed and removed, each deed in the audit."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import Conflict, InvalidInput, NotFound
from tests.service.test_commission_command import hdx


def test_a_kind_is_copied_changed_and_removed(tenant: str, tmp_path: Path) -> None:
    """What `show` prints `new` reads; a change is one more version, and mistakes are named."""
    file, of = tmp_path / "press.yaml", ("--tenant", tenant)
    file.write_text(hdx("family", "show", "generic"), encoding="utf-8")
    for name in ("generic", "Press 4"):
        with pytest.raises(InvalidInput, match="small letters"):
            hdx("family", "new", name, "--file", str(file), *of)
    assert "Defined family press" in hdx("family", "new", "press", "--file", str(file), *of)
    with pytest.raises(Conflict, match="press"):
        hdx("family", "new", "press", "--file", str(file), *of)
    shown = hdx("family", "show", "press", *of)
    file.write_text(
        shown + "window_s: 30\n" if "window_s" not in shown else shown.replace("window_s: 5", "window_s: 30")
    )
    assert "version 2" in hdx("family", "change", "press", "--file", str(file), *of)
    assert "window_s: 30" in hdx("family", "show", "press", *of)
    assert "window_s: 30" not in hdx("family", "show", "press", "--version", "1", *of)
    listed = hdx("family", "list", *of)
    assert "water-loop" in listed
    assert next(line for line in listed.splitlines() if "press " in line).split()[-2] == "2"
    file.write_text("title: x\nchannels: {speed: {unit: rpm}}\n")
    with pytest.raises(ValidationError, match="low and high must be given"):
        hdx("family", "change", "press", "--file", str(file), *of)
    assert "Removed family press" in hdx("family", "remove", "press", *of)
    with pytest.raises(NotFound):
        hdx("family", "show", "press", *of)
    assert "family.removed" in hdx("audit", *of)
