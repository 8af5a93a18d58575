"""Rules of finding a window's place in its machine's load cycle."""

import numpy as np
import pytest

from pipelines.machines.family import Cycle, Family, read_family
from pipelines.signals.cycle import read_cycle
from pipelines.signals.features import feature_names
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

RIG = read_family("rig")
PROFILE = {name: np.array(values) for name, values in RIG.cycle.profile.items()} if RIG.cycle else {}


def cut(start: int, samples: int, rate_hz: float = 1.0, without: str = "") -> Window:
    """Return a window of the profile itself, beginning anywhere."""
    places = (start + np.arange(samples) / rate_hz).astype(int) % 60
    return Window({name: values[places] for name, values in PROFILE.items() if name != without}, rate_hz)


def phases(window: Window) -> Floats:
    table = make_feature_table([window], [None], RIG)
    return table.raw[0, [name.startswith("flow_phase@") for name in feature_names(RIG)]]


@pytest.mark.parametrize("start", range(0, 60, 7))
def test_a_whole_cycle_reads_the_same_wherever_it_begins(start: int) -> None:
    """The phases of a whole cycle do not depend on where a window begins; a longer one is read from its last cycle."""
    np.testing.assert_allclose(phases(cut(start, 60)), phases(cut(0, 60)), rtol=1e-12)
    np.testing.assert_allclose(phases(cut(start, 95)), phases(cut(0, 60)), rtol=1e-12)


@pytest.mark.parametrize("start", [3, 15, 31])
def test_a_part_of_a_cycle_fills_its_own_phases(start: int) -> None:
    """A shorter window has the phases that it touches, at their own places, and no other."""
    found = phases(cut(start, 20))
    known = np.isfinite(found)
    assert 0 < known.sum() < len(found)
    assert known[0] == (start + 20 > 60)


def test_a_faster_sensor_reads_the_same() -> None:
    """A window sampled ten times as fast has the same phases; one slower than the profile has none."""
    np.testing.assert_allclose(phases(cut(17, 600, 10.0)), phases(cut(17, 60)), rtol=1e-9)
    assert np.isnan(phases(cut(0, 30, 0.5))).all()


def test_any_channel_of_the_profile_is_enough() -> None:
    """The place is found by flow alone; a channel that is missing has no phases."""
    np.testing.assert_allclose(phases(cut(23, 60, without="pressure")), phases(cut(0, 60)), rtol=1e-12)
    assert np.isnan(phases(cut(23, 60, without="flow"))).all()


def test_a_load_step_is_read_as_the_share_that_is_done() -> None:
    """The level and the size of a load step do not enter; a step of no size is NaN."""
    cycle = Cycle.model_validate(
        {
            "seconds": 7,
            "profile": {"flow": [5, 0, 0, 4, 8, 8, 6]},
            "phases": [0, 1, 3, 4, 6],
            "channels": ["flow"],
            "source": "made up",
        }
    )
    assert cycle.load_steps == ((0, 3, 1), (2, 1, 3), (4, 3, 1))
    values = np.array([5, 1.0, 1, 7, 9, 9, 8])
    hotter = 3 * values + 100
    found = read_cycle(np.stack([values, hotter, np.ones(7)])[:, None], 1.0, ("flow",), cycle)[:, 5:]
    expected = [(5 - 9) / (1 - 9), (7 - 1) / (9 - 1), (8 - 9) / (1 - 9)]
    np.testing.assert_allclose(found[:2], [expected, expected], rtol=1e-12)
    assert np.isnan(found[2]).all()


def test_batch_equals_single() -> None:
    """A window has bit for bit the same numbers alone and beside others."""
    random = np.random.default_rng(3)
    values = random.normal(100, 20, (9, 2, 20))
    cycle = RIG.cycle
    assert cycle is not None
    plain = cycle.model_copy(update={"channels": ("pressure", "flow")})
    together = read_cycle(values, 1.0, ("pressure", "flow"), plain)
    for row in range(len(values)):
        alone = read_cycle(values[row : row + 1], 1.0, ("pressure", "flow"), plain)
        np.testing.assert_array_equal(alone[0], together[row])


def test_a_broken_cycle_is_refused() -> None:
    """Phases rise from nought and stay inside the profile, whose channels the family has."""
    given = {"seconds": 3, "profile": {"flow": [1, 2, 3]}, "channels": ["flow"], "source": "made up"}
    for wrong in ([1, 2], [0, 0], [0, 3]):
        with pytest.raises(ValueError, match="phases must rise"):
            Cycle.model_validate({**given, "phases": wrong})
    with pytest.raises(ValueError, match="those of the profile, flow"):
        Cycle.model_validate({**given, "phases": [0, 1], "channels": ["pressure"]})
    content = RIG.model_dump()
    content["cycle"]["channels"] = ["pressure", "flow", "steam"]
    with pytest.raises(ValueError, match="steam"):
        Family.model_validate(content)
