"""In service tests: six exports of machines, each with quirks and a fault of its own, made anew by every run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from pipelines.signals.windows import Floats
from tests.unit.workbooks import Cell, rows_xml, workbook

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# Seconds: of the whole file, from which the fault is there, and of what is learned from.
LENGTH, FAULT, KNOWN = 1500, 900, 600
Levels = Mapping[str, float]


@dataclass(frozen=True)
class Export:
    """A file with what its owner knows of it.

    Attributes:
        begin: Of the first reading, by UTC.
        said: What columns are, where the file does not say it.
        zone: Of its clock, where the file does not say it.
        machine: Whose readings count.
        channel: That the fault moves, as the proposal names it.
    """

    name: str
    content: bytes
    begin: datetime
    channel: str
    said: tuple[str, ...] = ()
    zone: str = ""
    machine: str = ""
    content_type: str = "text/csv"

    def at(self, seconds: float) -> datetime:
        """Return a moment of the file."""
        return self.begin + timedelta(seconds=seconds)


def readings(seed: int, levels: Levels, faulty: str, factor: float, cycle_s: int = 0) -> dict[str, Floats]:
    """Return by channel a sample a second of a machine that runs well, and from `FAULT` on has one channel elsewhere.

    A machine with a cycle works in its first half, and its pressure and current with it.
    """
    random = np.random.default_rng(seed)
    seconds = np.arange(LENGTH)
    works = 1 + 0.1 * np.sin(2 * np.pi * seconds / cycle_s) if cycle_s else np.ones(LENGTH)
    found = {name: level * random.normal(1, 0.004, LENGTH) for name, level in levels.items()}
    for name in found.keys() & {"pressure", "current"}:
        found[name] *= works
    found[faulty][FAULT:] *= factor
    return found


def comma(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace(".", ",")


def logger() -> Export:
    """A German logger: windows-1252, notes above, decimal commas, date and clock apart, a summary below."""
    begin = datetime(2026, 3, 2, 6, tzinfo=UTC)
    shown = readings(1, {"pressure": 184.0, "oil": 48.5, "flow": 61.0, "vibration": 1.9}, "flow", 0.65)
    lines = ["Datenlogger MX-840;Seriennr. 00417", "Messstelle:;Presse 4, Halle Süd", "Zeitzone: UTC", ""]
    lines += ["Datum;Uhrzeit;Pumpendruck [bar];Öltemperatur [°C];Förderstrom [l/min];Schwinggeschwindigkeit [mm/s]"]
    for place in range(LENGTH):
        at = begin + timedelta(seconds=place)
        cells = [comma(shown[name][place]) for name in ("pressure", "oil", "flow", "vibration")]
        if place % 211 == 7:
            cells[place % 4] = "---"
        lines.append(";".join([f"{at:%d.%m.%Y}", f"{at:%H:%M:%S}", *cells]))
    lines += ["", "Mittelwert;;183,97;48,50;54,88;1,90"]
    return Export("logger-de.csv", "\r\n".join(lines).encode("cp1252"), begin, "flow")


def lathe() -> Export:
    """A Russian control system: windows-1251, tabs, units in brackets, hours of one digit, `н/д`, a clock of Moscow."""
    begin = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
    shown = readings(2, {"pressure": 16.2, "oil": 51.0, "flow": 44.0, "current": 31.0}, "pressure", 0.8)
    lines = ["Дата и время\tДавление насоса (МПа)\tТемпература масла (°C)\tРасход (л/мин)\tТок двигателя (А)"]
    for place in range(LENGTH):
        at = begin + timedelta(hours=3, seconds=place)
        cells = [comma(shown[name][place], 3) for name in ("pressure", "oil", "flow", "current")]
        if place % 173 == 11:
            cells[1] = "н/д"
        lines.append("\t".join([f"{at.day:02d}.{at.month:02d}.{at.year} {at.hour}:{at:%M:%S}", *cells]))
    content = "\n".join(lines).encode("cp1251")
    return Export("stanok-1251.txt", content, begin, "pressure", zone="Europe/Moscow")


def scada() -> Export:
    """Bare tags, one a row, with the numbers of OPC for quality, and rates that differ."""
    begin = datetime(2026, 3, 3, 9, tzinfo=UTC)
    shown = readings(3, {"PT101.PV": 205.0, "TT102.PV": 47.0, "FT103.PV": 88.0, "IT105.PV": 62.0}, "IT105.PV", 0.7)
    rows = []
    for place in range(LENGTH):
        at = begin + timedelta(seconds=place)
        for tag, values in shown.items():
            if tag.startswith("TT") and place % 5:
                continue
            bad = place % 307 == 13
            value, quality = (0.0, 24) if bad else (values[place], 192)
            rows.append(f"{tag},{at:%Y-%m-%dT%H:%M:%S}.{place % 7:03d}Z,{value:.2f},{quality}")
    content = "\n".join(["Tag,Timestamp,Value,Quality", *rows]).encode()
    said = (
        "pressure=PT101.PV [bar]",
        "temperature=TT102.PV [degC]",
        "flow=FT103.PV [l/min]",
        "motor current=IT105.PV [A]",
    )
    return Export("scada-tags.csv", content, begin, "motor current", said)


def pump() -> Export:
    """An American panel: month first, a clock of twelve hours over noon, psi, Fahrenheit, gpm, thousands in quotes."""
    begin = datetime(2026, 3, 12, 16, 50, tzinfo=UTC)
    levels = {"pressure": 2650.0, "oil": 124.0, "flow": 16.4, "speed": 1775.0}
    shown = readings(4, levels, "speed", 0.6, cycle_s=50)
    lines = ["Panel view export,,,,", "Unit: HPU-2,,,,", "Time (EST),Pump Pressure (psi),Oil Temp (°F),Flow (gpm),Motor Speed (RPM)"]  # fmt: skip  # noqa: E501
    for place in range(LENGTH):
        at = begin - timedelta(hours=5) + timedelta(seconds=place)
        clock = f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
        cells = [f'"{shown["pressure"][place]:,.1f}"', *(f"{shown[name][place]:.1f}" for name in ("oil", "flow"))]
        cells.append("N/A" if place % 190 == 3 else f'"{shown["speed"][place]:,.0f}"')
        lines.append(",".join([clock, *cells]))
    lines.append('Average,"2,385.2",124.0,16.4,"1,775"')
    return Export("pump-us.csv", "\r\n".join(lines).encode("utf-8-sig"), begin, "Motor Speed")


def presses() -> Export:
    """A workbook of two presses side by side, under merged headers, in the night in which clocks are put back."""
    begin = datetime(2026, 10, 25, 0, 40, tzinfo=UTC)  # 02:40 in Berlin, for the first time
    levels = {"pressure": 176.0, "oil": 46.0, "flow": 58.0}
    first, second = readings(5, levels, "flow", 1.0), readings(6, levels | {"pressure": 150.0}, "flow", 0.7)
    rows: list[list[Cell]] = [["Schicht 3, Pressen 1 und 2"], [None, "Presse 1", None, None, "Presse 2", None, None]]
    rows += [["Zeit", *["Druck [bar]", "Öltemperatur [°C]", "Durchfluss [l/min]"] * 2]]
    for place in range(LENGTH):
        at = begin + timedelta(seconds=place)
        local = at + timedelta(hours=2 if at < datetime(2026, 10, 25, 1, tzinfo=UTC) else 1)
        values = [round(float(each[name][place]), 2) for each in (first, second) for name in levels]
        rows.append([local.replace(tzinfo=None), *values])
    content = workbook({"Schicht": rows_xml(rows), "Hinweise": rows_xml([["Ölwechsel im Mai"]])}, "B2:D2")
    told = (), "Europe/Berlin", "Presse 2", XLSX
    return Export("pressen.xlsx", content, begin, "flow", *told)


def gateway() -> Export:
    """A gateway on the internet of things: epochs in milliseconds, a gap, duplicates, disorder, a slower channel."""
    begin = datetime(2026, 3, 4, 12, tzinfo=UTC)
    shown = readings(7, {"pressure": 9800.0, "oil": 44.0, "flow": 0.71, "current": 12.4}, "current", 1.4)
    rows = []
    for place in range(LENGTH):
        if 640 <= place < 700:
            continue
        stamp = int(1000 * (begin + timedelta(seconds=place)).timestamp()) + place % 9
        oil = f"{shown['oil'][place]:.1f}" if place % 10 == 0 else ""
        cells = [f"{shown['pressure'][place]:.0f}", oil, f"{shown['flow'][place]:.4f}"]
        rows.append(f"{stamp};{';'.join(cells)};{shown['current'][place]:.2f}")
    for place in range(20, len(rows) - 20, 101):
        rows[place], rows[place + 9] = rows[place + 9], rows[place]
        rows.insert(place + 3, rows[place])
    head = "timestamp;pressure_kPa;oil_temp_C;flow_l_s;motor_current_A"
    return Export("gateway-epoch.csv", "\n".join([head, *rows]).encode(), begin, "motor_current_A")


MAKERS: Mapping[str, Callable[[], Export]] = {
    "logger": logger,
    "lathe": lathe,
    "scada": scada,
    "pump": pump,
    "presses": presses,
    "gateway": gateway,
}
