"""Rules of reading and converting units."""

import numpy as np
import pytest

from configs.settings import Limits
from pipelines.errors import InvalidInput
from pipelines.machines.family import family_names, read_family
from pipelines.signals.channels import read_window
from pipelines.signals.units import convert, fitting, quantity_of, read_unit

GENERIC = read_family("generic")

WRITTEN = {
    "bar": "bar BAR barg bar(g) бар bar(Ü)",
    "bara": "bara bar(a)",
    "psi": "psi PSI psig lb/in²",
    "MPa": "MPa МПа MPA мпа",
    "mPa": "mPa мПа",
    "kPa": "kPa кПа",
    "kgf/cm2": "кгс/см² кгс/см2 kgf/cm² kgf/cm^2 kg/cm2 kp/cm²",
    "degC": "°C °С ºC ℃ degC DegC град.С C",
    "degF": "°F ℉ degF F",
    "l/min": "l/min L/min l/min. lpm LPM л/мин",
    "l/s": "l/s л/с л/сек",
    "m3/h": "m³/h m3/h м3/ч м³/час",
    "gpm": "gpm GPM gal/min usgpm",
    "mm/s": "mm/s мм/с mm/sec",
    "in/s": "in/s ips inch/s",
    "g": "g G",
    "rpm": "rpm RPM об/мин U/min 1/min min⁻¹",
    "A": "A А Amps",
    "W": "W Вт",
    "kW": "kW кВт",
    "%": "% pct",
}
SPACED = {
    "mm/s RMS": "mm/s",
    "мм/с (СКЗ)": "mm/s",
    "deg C": "degC",
    "l per min": "l/min",
    "US gpm": "gpm",
    "bar abs": "bara",
    "mbara": "mbara",
    "mbar abs": "mbara",
    "mbar (a)": "mbara",
    "hPa abs": "hPaa",
}


@pytest.mark.parametrize(
    ("text", "name"), [(text, name) for name, texts in WRITTEN.items() for text in texts.split()] + [*SPACED.items()]
)
def test_units_are_read_as_people_write_them(text: str, name: str) -> None:
    """English, Russian and German spellings lead to one name; a million pascals are no thousandth of one."""
    assert read_unit(text) == name


@pytest.mark.parametrize("text", ["", "state", "c", "k", "I/O", "PV", "Pump 1", "x" * 10_000, "((((", "1e9**1e9"])
def test_what_is_no_unit_is_none(text: str) -> None:
    """A word that is no unit is not taken for one, however long it is."""
    assert read_unit(text) is None


@pytest.mark.parametrize(
    ("value", "unit", "to", "right"),
    [
        (2601, "psi", "bar", 179.333),
        (126, "degF", "degC", 52.222),
        (318.15, "K", "degC", 45),
        (100, "degC", "degF", 212),
        (16.7, "gpm", "l/min", 63.216),
        (0.63, "l/s", "l/min", 37.8),
        (6, "m3/h", "l/min", 100),
        (0.1, "in/s", "mm/s", 2.54),
        (12.4, "MPa", "bar", 124),
        (100, "kgf/cm2", "bar", 98.0665),
        (1.01325, "bara", "bar", 0),
        (14.696, "psia", "bar", 0),
        (0.5, "1", "%", 50),
        (25, "rps", "rpm", 1500),
        (9.80665, "m/s2", "g", 1),
        (2.5, "kW", "W", 2500),
    ],
)
def test_units_are_converted(value: float, unit: str, to: str, right: float) -> None:
    """Factors and zeros are right, those of temperatures and of absolute pressures, too."""
    (found,) = convert(np.array([value]), unit, to).tolist()
    assert found == pytest.approx(right, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(
    ("unit", "to"), [("g", "mm/s"), ("mm/s peak", "mm/s"), ("kg/h", "l/min"), ("Hz", "rpm"), ("x", "bar")]
)
def test_other_quantities_are_refused_by_name(unit: str, to: str) -> None:
    """An acceleration is no velocity, a peak no root mean square; both units are named."""
    with pytest.raises(InvalidInput) as caught:
        convert(np.ones(3), unit, to)
    assert unit in str(caught.value)
    assert to in str(caught.value)


def test_families_write_units_that_are_known() -> None:
    """Each unit of each shipped family is a canonical name."""
    channels = [channel for name in family_names() for channel in read_family(name).channels.values()]
    assert [channel.unit for channel in channels if quantity_of(channel.unit) is None] == []
    assert [channel.unit for channel in channels if read_unit(channel.unit) != channel.unit] == []


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("pressure", 2601, "psi"),
        ("temperature", 158, "degF"),
        ("temperature", 318, "K"),
        ("vibration", 2500, "um/s"),
    ],
)
def test_a_value_far_outside_says_which_unit_it_fits(name: str, value: float, right: str) -> None:
    """The likeliest unit stands first, in the error of a window, too."""
    assert fitting(value, GENERIC.channels[name])[0] == right
    with pytest.raises(InvalidInput) as caught:
        read_window({name: [value] * 5}, None, GENERIC, Limits())
    assert f"{GENERIC.channels[name].unit}: {right}?" in caught.value.rule


@pytest.mark.parametrize("value", [701, -0.1, -5, 1e308])
def test_a_value_that_fits_no_unit_asks_nothing(value: float) -> None:
    """Just outside the range it may be a reading; and nothing makes a negative pressure right."""
    assert fitting(value, GENERIC.channels["pressure"]) == ()
