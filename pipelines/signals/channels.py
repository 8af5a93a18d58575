"""Turns a body's arrays into a checked window: finite numbers inside the family's plausible range alone pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from configs.settings import Limits
from pipelines.errors import InvalidInput
from pipelines.machines.family import Channel, Family, by_family
from pipelines.signals.units import range_rule
from pipelines.signals.windows import Floats, Window, filled

# Source: own choice; the fastest series of the test rig is 100 Hz, accelerometers reach some 50 kHz.
RATE_MAX_HZ = 1e5
PLAIN = frozenset({int, float})
NUMBERS = (int, float, np.integer, np.floating)


def read_window(
    sensor_data: Mapping[str, object],
    sampling_hz: float | None,
    family: Family,
    limits: Limits,
    field: str = "sensor_data",
) -> Window:
    """Check the arrays of one body and return them as a window.

    Args:
        sampling_hz: None means the family's rate of the first channel that was sent.

    Raises:
        InvalidInput: Names the first value that breaks a rule, as `sensor_data.pressure[3]`.
    """
    plain = read_alike([sensor_data], sampling_hz, family, limits)
    if plain is not None:
        return plain[0]
    for name in sensor_data:
        if name not in family.channels:
            raise InvalidInput(f"{field}.{name}", name, f"must be one of {', '.join(family.channels)}")
    names = [name for name in family.channels if name in sensor_data]
    if not names:
        raise InvalidInput(field, None, f"must hold at least one of {', '.join(family.channels)}")
    values = {name: _samples(sensor_data[name], family.channels[name], limits, f"{field}.{name}") for name in names}
    length = len(values[names[0]])
    for name in names[1:]:
        if len(values[name]) != length:
            rule = f"must have as many values as {names[0]} ({length})"
            raise InvalidInput(f"{field}.{name}", len(values[name]), rule)
    rate_hz = _rate(sampling_hz, family.channels[names[0]])
    missing = {name: int(np.isnan(samples).sum()) for name, samples in values.items()}
    if not any(missing.values()):
        return Window(values, rate_hz)
    return _completed(values, rate_hz, missing, family, field)


def _completed(
    values: Mapping[str, Floats], rate_hz: float, missing: Mapping[str, int], family: Family, field: str
) -> Window:
    """Return a window some samples of which are null; a channel that is all null was not measured.

    Raises:
        InvalidInput: More of a channel is missing than its family allows, or all of all channels.
    """
    found = {}
    for name, samples in values.items():
        count, length = missing[name], len(samples)
        if count == length:
            continue
        if count > family.missing * length:
            place = int(np.flatnonzero(np.isnan(samples))[0])
            rule = f"must be a number: at most {family.missing:.0%} may be missing, and {count} of {length} are null"
            raise InvalidInput(f"{field}.{name}[{place}]", None, rule)
        found[name] = filled(samples) if count else samples
    if not found:
        raise InvalidInput(field, None, "must hold at least one sample that is not null")
    return Window(found, rate_hz, tuple((name, missing[name]) for name in found if missing[name]))


def read_alike(
    bodies: Sequence[Mapping[str, object]], sampling_hz: float | None, family: Family, limits: Limits
) -> list[Window] | None:
    """Check the arrays of many bodies in one pass; None where they differ in channels or length, or break a rule.

    What `read_window` says of each one then stands.
    """
    names = tuple(name for name in family.channels if name in bodies[0])
    values = _block(bodies, names, limits)
    if values is None:
        return None
    low, high = _bounds(family, names)
    # Not a number compares as false, so that one pass finds everything that is wrong.
    if not ((values.min(axis=(0, 2)) >= low).all() and (values.max(axis=(0, 2)) <= high).all()):
        return None
    rate_hz = _rate(sampling_hz, family.channels[names[0]])
    return [Window(dict(zip(names, block, strict=True)), rate_hz) for block in values]


def _block(bodies: Sequence[Mapping[str, object]], names: tuple[str, ...], limits: Limits) -> Floats | None:
    """Return the arrays as one, `float64[N, C, L]`; None where they are not plainly such."""
    if not names or any(len(body) != len(names) or any(name not in body for name in names) for body in bodies):
        return None
    lists = [given for body in bodies for name in names if isinstance(given := body[name], list)]
    lengths = set(map(len, lists))
    if len(lists) != len(bodies) * len(names) or len(lengths) != 1:
        return None
    if not limits.values_min <= min(lengths) <= limits.values or not set(map(type, chain(*lists))) <= PLAIN:
        return None
    try:
        return np.array(lists, dtype=np.float64).reshape(len(bodies), len(names), -1)
    except OverflowError:
        return None


@by_family
def _bounds(family: Family, names: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return each channel's least and greatest plausible value."""
    channels = [family.channels[name] for name in names]
    return np.array([channel.low for channel in channels]), np.array([channel.high for channel in channels])


def _rate(sampling_hz: float | None, channel: Channel) -> float:
    if sampling_hz is None:
        return channel.rate_hz
    if not (math.isfinite(sampling_hz) and 0 < sampling_hz <= RATE_MAX_HZ):
        raise InvalidInput("sampling_hz", sampling_hz, f"must be above 0 and at most {RATE_MAX_HZ:g}")
    return float(sampling_hz)


def _samples(given: object, channel: Channel, limits: Limits, field: str) -> Floats:
    """Return one channel's samples, all checks vectorised; an offender is searched for only once there is one."""
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if not isinstance(given, list | tuple):
        raise InvalidInput(field, given, "must be an array of numbers")
    if len(given) > limits.values:
        raise InvalidInput(field, len(given), f"must have at most {limits.values} values")
    if len(given) < limits.values_min:
        raise InvalidInput(field, len(given), f"must have at least {limits.values_min} values")
    kinds = set(map(type, given))
    if not kinds <= PLAIN and not all(map(_is_number, kinds - {type(None)})):
        raise _offence(given, lambda value: _is_number(type(value)), "must be a number", field)
    known = given if type(None) not in kinds else [value for value in given if value is not None]
    try:
        values = np.array(known, dtype=np.float64)
    except OverflowError:
        values = np.array([np.inf])
    # Not a number compares as false, so that one pass finds everything that is wrong.
    if known and not (np.minimum.reduce(values) >= channel.low and np.maximum.reduce(values) <= channel.high):
        if not np.isfinite(values).all():
            raise _offence(given, _is_finite, "must be finite", field)
        wrong = float(values[~((values >= channel.low) & (values <= channel.high))][0])
        rule = range_rule(wrong, channel)
        raise _offence(given, lambda value: channel.low <= value <= channel.high, rule, field)
    # A sample that is null is missing.
    return values if known is given else np.array(given, dtype=np.float64)


def _is_number(kind: type) -> bool:
    # A bool is an int to Python, and no measurement.
    return issubclass(kind, NUMBERS) and kind is not bool


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _offence(given: Sequence[float], is_right: Callable[[float], bool], rule: str, field: str) -> InvalidInput:
    """Return the error for the first value that is not right."""
    place = next(place for place, value in enumerate(given) if value is not None and not is_right(value))
    return InvalidInput(f"{field}[{place}]", given[place], rule)
