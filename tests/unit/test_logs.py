"""Rules of the log: whole lines of JSON from any number of processes, in files that stay within their bounds."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
import structlog

from configs.settings import Logs, Settings
from serve_app.local.doctor import added
from serve_app.shared import logs
from serve_app.shared.logs import FILE, LogFile

WRITER = """
import sys
from pathlib import Path
from serve_app.shared.logs import LogFile
file = LogFile(Path(sys.argv[1]), 4096, 100)
for number in range(500):
    file.msg(b'{"writer": %d, "number": %d, "filling": "%s"}' % (int(sys.argv[2]), number, b"x" * 60))
"""


def lines_of(folder: Path) -> list[dict[str, object]]:
    """Every line of every file, each a JSON object."""
    return [json.loads(line) for path in folder.glob(f"{FILE}*") for line in path.read_text().splitlines()]


def test_a_full_file_is_turned_over_and_few_are_kept(tmp_path: Path) -> None:
    """No file grows far over its limit, no more of them are kept than asked for, and the newest lines are all there."""
    file = LogFile(tmp_path / FILE, 1000, 3)
    for number in range(500):
        file.msg(b'{"number": %d}' % number)
    file.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.jsonl*") if not path.name.endswith(".lock")}
    assert set(sizes) == {FILE, f"{FILE}.1", f"{FILE}.2"}
    assert max(sizes.values()) < 1020
    numbers = sorted(int(str(line["number"])) for line in lines_of(tmp_path))
    assert numbers == list(range(numbers[0], 500))
    assert len(numbers) > 100


def test_one_file_alone_starts_again(tmp_path: Path) -> None:
    """With one file to keep, a full one is dropped."""
    file = LogFile(tmp_path / FILE, 100, 1)
    for number in range(50):
        file.msg(b'{"number": %d}' % number)
    file.close()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [FILE, f"{FILE}.lock"]
    assert (tmp_path / FILE).stat().st_size < 120


def test_processes_lose_and_mix_no_line(tmp_path: Path) -> None:
    """Four processes that write and turn over at once leave each line whole, and once."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / FILE)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    found = [(line["writer"], line["number"]) for line in lines_of(tmp_path)]
    assert sorted(map(str, found)) == sorted(str((writer, number)) for writer in range(4) for number in range(500))
    assert len(list(tmp_path.glob(f"{FILE}.*"))) > 10


def test_a_deleted_file_is_made_anew(tmp_path: Path) -> None:
    """Whoever clears the folder loses what was there, and nothing after."""
    file = LogFile(tmp_path / FILE, 1000, 3)
    file.msg(b'{"number": 1}')
    (tmp_path / FILE).unlink()
    file.msg(b'{"number": 2}')
    file.close()
    assert lines_of(tmp_path) == [{"number": 2}]


def test_a_line_that_cannot_be_written_fails_nobody(tmp_path: Path) -> None:
    """A full disk, here a file that takes no bytes, raises nothing."""
    file = LogFile(tmp_path / FILE, 1000, 3)
    file.close()
    file.msg(b"{}")


def test_a_line_holds_whatever_a_caller_sends(tmp_path: Path) -> None:
    """Half a surrogate pair and an integer beyond 64 bits are written, and in the order of the contract."""
    logs.configure(Settings(home=tmp_path, logs=Logs(file_bytes=10_000)))
    logs.write("odd", text="\ud800", number=1 << 70, error=ValueError("first\nsecond"))
    [line] = lines_of(tmp_path / "logs")
    structlog.reset_defaults()
    assert list(line) == ["time", "level", "event", "trace_id", "pid", "text", "number", "error"]
    assert (line["level"], line["event"], line["text"], line["number"]) == ("INFO", "odd", "?", 1 << 70)
    assert line["error"] == {"kind": "ValueError", "message": "first", "frames": []}


@pytest.mark.timeout(20, func_only=True)
def test_whoever_follows_sees_the_new_file(tmp_path: Path) -> None:
    """`hdx logs --follow` begins again where a full log was turned over."""
    path = tmp_path / FILE
    path.write_text("a long line of the file that is full\n")
    following = added([path])

    def turn_over() -> None:
        path.rename(tmp_path / f"{FILE}.1")
        path.write_text("one\n")

    timer = Timer(0.2, turn_over)
    timer.start()
    assert next(following) == "one\n"
    timer.join()
