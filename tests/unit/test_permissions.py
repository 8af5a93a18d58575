"""Who may enter what HDX keeps on this machine."""

import os
import stat
from pathlib import Path

import pytest

from configs.settings import Settings
from pipelines.errors import Unavailable
from serve_app.local.bootstrap import check_secrets
from serve_app.local.permissions import FOLDERS, private_folder, private_home


def mode_of(path: Path) -> int:
    """Return what everybody may do with it."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_made_for_its_owner(tmp_path: Path) -> None:
    """With its folders, whatever the user's own habit is; a second time nothing changes."""
    before = os.umask(0)
    try:
        for _ in range(2):
            private_home(tmp_path / "var")
    finally:
        os.umask(before)
    assert {mode_of(tmp_path / "var" / name) for name in (*FOLDERS, ".")} == {0o700}


@pytest.mark.parametrize("wide", [0o750, 0o704, 0o720])
@pytest.mark.parametrize("name", [".", "logs"])
def test_one_that_others_may_enter_is_refused(tmp_path: Path, name: str, wide: int) -> None:
    """With the command that mends it, which does."""
    private_home(tmp_path)
    (tmp_path / name).chmod(wide)
    with pytest.raises(Unavailable, match=r"open to other users of this machine: chmod -R go= ") as refused:
        private_home(tmp_path)
    assert os.system(str(refused.value).rpartition(": ")[2]) == 0  # noqa: S605 (what people are told to type)
    private_home(tmp_path)


def test_passing_through_is_for_the_database_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root it runs as a user of its own; nobody else's home, and no other folder, is open to that."""
    private_home(tmp_path)
    tmp_path.chmod(0o711)
    owner = tmp_path.stat().st_uid
    if owner == 0:
        private_home(tmp_path)
        (tmp_path / "logs").chmod(0o711)
    with pytest.raises(Unavailable, match="open to other users"):
        private_home(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(Unavailable, match="belongs to another user"):
        private_folder(tmp_path)


def test_secrets_that_everybody_knows_are_refused() -> None:
    """Ray's token among them: who knows it runs code."""
    with pytest.raises(Unavailable, match=r"HDX_RAY_AUTH_TOKEN.*`hdx keys`"):
        check_secrets(Settings(_env_file=None))
