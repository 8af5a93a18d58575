"""The embedded server: who reaches it, who stops it, and what it survives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from pipelines.errors import Unavailable
from serve_app.local import embedded
from serve_app.store.migrate import create_database


def ask(server: embedded.EmbeddedPostgres, query: str) -> object:
    with create_engine(server.url("postgres"), poolclass=NullPool).connect() as connection:
        return connection.execute(text(query)).scalar()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_embedded_server_is_for_its_user_alone(tmp_path: Path) -> None:
    """It listens on no network address, and its socket is closed to other users, also where the path is too deep."""
    for folder in (tmp_path / "flat", tmp_path / ("deep" * 15) / ("deep" * 15) / "postgres"):
        server = embedded.start(folder)
        try:
            assert ask(server, "SHOW listen_addresses") == ""
            assert not [link for link in psutil.Process(server.pid).net_connections("inet") if link.laddr]
            sockets = Path(str(make_url(server.url("postgres")).query["host"]))
            assert (sockets == folder) == (folder.name == "flat")
            for path in (sockets, sockets / ".s.PGSQL.5432"):
                assert path.stat().st_mode & 0o077 == 0
                assert path.stat().st_uid == folder.stat().st_uid
        finally:
            server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="the wheel changes folders above only when run as root")
def test_folders_above_stay_closed(tmp_path: Path) -> None:
    """The system user of the server may pass through the folders above, and nobody may list them."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    server = embedded.start(home / "postgres")
    server.stop()
    assert home.stat().st_mode & 0o777 == 0o711


def test_a_second_start_attaches(tmp_path: Path) -> None:
    """A second start reuses the server and does not stop it; the first one does."""
    first = embedded.start(tmp_path / "postgres")
    second = embedded.start(tmp_path / "postgres")
    assert (first.ours, second.ours) == (True, False)
    assert first.pid == second.pid
    second.stop()
    assert ask(first, "SELECT 1") == 1
    first.stop()
    wait_for(lambda: gone(first.pid))


def test_data_outlive_the_server(tmp_path: Path) -> None:
    """What was written is there after a stop and another start."""
    server = embedded.start(tmp_path / "postgres")
    create_database(server.url("postgres"), "kept")
    server.stop()
    server = embedded.start(tmp_path / "postgres")
    create_database(server.url("kept"), "kept")
    assert ask(server, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1
    server.stop()


def test_a_killed_owner_leaves_a_server_to_the_next(tmp_path: Path) -> None:
    """After SIGKILL of its owner the server runs on, and the next start owns and stops it."""
    code = (
        "import sys, time; from pathlib import Path; from serve_app.local.embedded import start\n"
        "server = start(Path(sys.argv[1])); print(server.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "postgres")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        attached = embedded.start(tmp_path / "postgres")
        assert not attached.ours
        owner.send_signal(signal.SIGKILL)
    heir = embedded.start(tmp_path / "postgres")
    assert (heir.ours, heir.pid) == (True, pid)
    heir.stop()
    wait_for(lambda: gone(pid))


def test_a_killed_server_starts_again(tmp_path: Path) -> None:
    """After SIGKILL of the server itself the next start recovers what was committed."""
    server = embedded.start(tmp_path / "postgres")
    create_database(server.url("postgres"), "kept")
    killed = server.pid
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: gone(killed))
    server.stop()
    again = embedded.start(tmp_path / "postgres")
    try:
        assert again.pid != killed
        assert ask(again, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1
    finally:
        again.stop()


def test_a_reused_process_number_is_not_the_server(tmp_path: Path) -> None:
    """A pid file that names a living process of somebody else, as after a reboot, does not stop a start."""
    folder = tmp_path / "postgres"
    embedded.start(folder).stop()
    lines = (os.getpid(), folder, 1, 5432, folder, "", "  1 1", "ready")
    (folder / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    server = embedded.start(folder)
    try:
        assert server.pid != os.getpid()
        assert ask(server, "SELECT 1") == 1
    finally:
        server.stop()


def test_a_path_that_a_shell_would_cut_is_refused(tmp_path: Path) -> None:
    """A folder with a blank in its path is refused in words, before anything is made."""
    with pytest.raises(Unavailable, match="letters, digits"):
        embedded.start(tmp_path / "with blank" / "postgres")
    assert not (tmp_path / "with blank").exists()
