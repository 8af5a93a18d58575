"""Rules of understanding headers."""

import pytest

from pipelines.datasets.mapping import Wanted, map_channels
from pipelines.errors import InvalidInput
from pipelines.machines.family import read_family
from pipelines.signals.tabular import read_table
from pipelines.signals.tabular.headings import read_heading


@pytest.mark.parametrize(
    ("header", "quantity", "unit"),
    [
        ("Pump pressure [psi]", "pressure", "psi"),
        ("Давление, МПа", "pressure", "MPa"),
        ("Öldruck in bar", "pressure", "bar"),
        ("Systemdruck / bar", "pressure", "bar"),
        ("flow_l_min", "flow", "l/min"),
        ("temperature_c", "temperature", "degC"),
        ("oil_temp_C", "temperature", "degC"),
        ("motor_current_A", "current", "A"),
        ("Temp C", "temperature", "degC"),
        ("Volumenstrom (l/min)", "flow", "l/min"),
        ("Strom Motor [A]", "current", "A"),
        ("Виброскорость, мм/с", "velocity", "mm/s"),
        ("Compressor temperature", "temperature", None),
        ("Tank level (%)", "level", "%"),
        ("Pump A", None, None),
        ("PT101.PV", None, None),
        ("PT101.PV (bar)", "pressure", "bar"),
        ("Частота вращения, об/мин", "speed", "rpm"),
        ("Drehzahl U/min", "speed", "rpm"),
    ],
)
def test_headers_are_understood(header: str, quantity: str | None, unit: str | None) -> None:
    """In three languages, with the unit in brackets, behind a comma, a stroke or a space, or none."""
    heading = read_heading(header)
    assert (heading.quantity, heading.unit) == (quantity, unit)


@pytest.mark.parametrize(
    ("header", "unknown"),
    [
        ("pressure [0.1 bar]", "0.1 bar"),
        ("pressure [kPa x100]", "kPa x100"),
        ("pressure (bar*10)", "bar*10"),
        ("temperature [0.1 °C]", "0.1 °C"),
        ("flow (dl/min)", "dl/min"),
        ("motor current [dA]", "dA"),
        ("pressure [mbara]", ""),
        ("pressure [P1]", ""),
        ("pressure [main]", ""),
        ("Druck [HPU2.PT101]", ""),
        ("pressure (HPU 2)", ""),
        ("Motor current (A1)", ""),
    ],
)
def test_a_unit_that_is_none_is_no_missing_unit(header: str, unknown: str) -> None:
    """What stands in brackets as a unit is told apart from a note."""
    assert read_heading(header).unknown == unknown


@pytest.mark.parametrize("head", ["pressure [0.1 bar];flow\n", "pressure;flow\nfoo;l/min\n", "pressure [foo];flow\n"])
def test_a_unit_that_is_not_known_is_asked_for(head: str) -> None:
    """The family's unit is not assumed; people who name another are believed."""
    table = read_table((head + "".join(f"{200 + n};{10.5 + n}\n" for n in range(9))).encode(), "export.csv")
    column = table.channels[0]
    mapped = map_channels(table, read_family("generic"), Wanted.of([]))
    assert set(mapped.values) == {"flow"}
    assert f"unit {column.unknown!r} is not known" in mapped.lines[0]
    assert f"unit {column.unknown!r} is not known" in table.report.columns[0].asked
    with pytest.raises(InvalidInput, match="must have a unit that is known"):
        map_channels(table, read_family("generic"), Wanted.of([f"pressure={column.header}"]))
    said = map_channels(table, read_family("generic"), Wanted.of([f"pressure={column.header} [kPa]"]))
    assert said.values["pressure"][0] == pytest.approx(2)
