"""Rules of understanding headers."""

import pytest

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
