"""From a file to an alarm by the command line alone: a kind is proposed, a system commissioned, the file judged."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import InvalidInput
from tests.serve.service import SHARED
from tests.service.own_exports import FAULT, MAKERS
from tests.service.test_commission_command import hdx

OWN = SHARED / "cases" / "40-own-csv"
TAGS = [
    "pressure=HPU2.PT101.PV [bar]",
    "temperature=HPU2.TT102.PV [degC]",
    "flow=HPU2.FT103.PV [l/min]",
    "vibration=HPU2.VT104.PV [mm/s]",
]
# When each file begins, and when a fault does.
FILES = {
    "press-eu.csv": ("2026-03-02T06:00:00", 900),
    "nasos-1251.csv": ("2026-03-02T06:00:00", None),
    "excavator-us.csv": ("2026-03-02T13:00:00", None),
    "historian-long.csv": ("2026-03-02T03:00:00", None),
}
KNOWN = 600


@pytest.mark.skipif(not OWN.exists(), reason="the shared cases are not here")
@pytest.mark.parametrize("file", FILES)
def test_a_file_goes_from_a_kind_to_its_alarm(tenant: str, tmp_path: Path, file: str) -> None:
    """Healthy readings raise nothing; a flow that falls is found within a window, by its name."""
    (begun, fault), said = FILES[file], TAGS if "long" in file else []
    of, source = ("--tenant", tenant), str(OWN / file)
    words = [word for each in said for word in ("--channel", each)]
    hdx("family", "new", "own", "--from", source, *words, *of)
    number = hdx("system", "new", "Machine", "--family", "own", *of).strip()
    until = (datetime.fromisoformat(begun) + timedelta(seconds=KNOWN)).isoformat()
    learned = hdx("commission", number, "--data", source, "--from", begun, "--to", until, *words, *of)
    assert re.search(r"monitoring, commissioned from (1[3-9]) windows", learned)
    target = tmp_path / "scored.parquet"
    hdx("score", "--family", "own", source, str(target), "--settle", str(KNOWN), *words, *of)
    found = pd.read_parquet(target)
    alarms = found["pred"].to_numpy() > 0
    assert not alarms[KNOWN : fault or len(found)].any()
    if fault is not None:
        assert alarms[fault + 60 :].all()
        assert set(found["anomaly_type"][fault + 60 :]) == {"low_flow"}


@pytest.mark.parametrize("maker", MAKERS)
def test_an_export_goes_from_a_kind_to_its_alarm(tenant: str, tmp_path: Path, maker: str) -> None:
    """Exports with other quirks: nothing is said before the fault, and then its channel, by its name."""
    export = MAKERS[maker]()
    path, of = tmp_path / export.name, ("--tenant", tenant)
    path.write_bytes(export.content)
    words = [word for each in export.said for word in ("--channel", each)] + ["--zone", export.zone] * bool(export.zone)
    hdx("family", "new", "own", "--from", str(path), *words, *of)
    number = hdx("system", "new", "Machine", "--family", "own", *of).strip()
    span = ["--from", f"{export.begin:%Y-%m-%dT%H:%M:%S}", "--to", f"{export.at(KNOWN):%Y-%m-%dT%H:%M:%S}"]
    one = ["--machine", export.machine] if export.machine else []
    assert "monitoring, commissioned from" in hdx("commission", number, "--data", str(path), *span, *words, *one, *of)
    target = tmp_path / "scored.parquet"
    settle = ["--settle", str(KNOWN), "--detail", "full"]
    hdx("score", "--family", "own", str(path), str(target), *settle, *words, *of)
    found = pd.read_parquet(target)
    found = found[found["machine"] == export.machine] if export.machine else found
    seconds = (found["time"] - np.datetime64(export.begin.replace(tzinfo=None))).dt.total_seconds()
    before, after = found[(seconds >= KNOWN) & (seconds < FAULT)], found[seconds >= FAULT + 120]
    assert len(before) > 200
    assert not before["pred"].any()
    assert after["pred"].all()
    assert {kind.partition("_")[2] for kind in after["anomaly_type"]} == {export.channel}


def written(path: Path, seconds: int = 900, lost: float = 1.0) -> Path:
    """Write an export of a press at 10 s, in kilopascal and gallons, with gaps and words in its cells."""
    random, at = np.random.default_rng(4), datetime(2026, 3, 2, 6, tzinfo=UTC)
    lines = ["# exported by a logger", "", "Zeit;Druck (kPa);Öltemperatur (°C);Ölmenge (gpm);Drehzahl (U/min)"]
    for place in range(seconds):
        moment = at + timedelta(seconds=10 * place + 3600 * (place > 500))
        bar = "n/a" if place % 97 == 5 else f"{18000 * lost * random.normal(1, 0.005):.0f}"
        oil, flow = 47 + random.normal(0, 0.1), 16.6 * random.normal(1, 0.005)
        lines.append(f"{moment:%d.%m.%Y %H:%M:%S};{bar};{oil:.1f};{flow:.2f};{1480 * random.normal(1, 0.002):.1f}")
    path.write_text("\n".join(lines).replace(".", ",").replace("# exported", "# exported"), encoding="cp1252")
    return path


def test_a_system_is_commissioned_from_a_file(tenant: str, tmp_path: Path) -> None:
    """Windows never span a gap, what they lack is told, and a file of another machine's channels is refused."""
    of, source = ("--tenant", tenant), written(tmp_path / "press.csv")
    text = source.read_text(encoding="cp1252")
    source.write_text(re.sub(r"(\d\d),(\d\d),(\d{4})", r"\1.\2.\3", text), encoding="cp1252")
    shown = hdx("family", "new", "press", "--from", str(source), *of)
    assert all(unit in shown for unit in ("kPa", "degC", "gpm", "rpm"))
    number = hdx("system", "new", "Press 7", "--family", "press", *of).strip()
    assert "commissioning, 0 of 20" in hdx("commission", number, *of)
    learned = hdx("commission", number, "--data", str(source), *of)
    assert "commissioned from 27 windows" in learned  # of 501 and 399 samples on both sides of the gap, by halves
    assert re.search(r"pressure +1\.8\d*e\+04|pressure +1\d{4}", learned)
    assert "monitoring" in next(line for line in hdx("system", "list", *of).splitlines() if "Press 7" in line)
    with pytest.raises(InvalidInput, match="at least 6 windows"):
        hdx("commission", number, "--data", str(source), "--to", "2026-03-02T06:20:00", *of)
    other = tmp_path / "other.csv"
    other.write_text("time,Humidity [%]\n2026-03-02T06:00:00Z,40\n2026-03-02T06:00:01Z,41\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="channels"):
        hdx("commission", number, "--data", str(other), *of)
    american = hdx("system", "new", "US", "--unit", "pressure=psi", "--unit", "temperature=F", *of).strip()
    assert "psi" in hdx("commission", american, "--data", str(source), "--channel", "flow=Ölmenge", *of)
    with pytest.raises(InvalidInput, match="must be a unit that bar can be converted to"):
        hdx("system", "new", "x", "--unit", "pressure=rpm", *of)
    with pytest.raises(InvalidInput, match="one of tenant"):
        hdx("system", "new", "x", "--family", "lift", *of)
