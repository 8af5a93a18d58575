"""Moments of one plain form are read at once, and are those that are read one by one."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from pipelines.signals.tabular import clocks

BEGIN = datetime(1999, 12, 31, 23, 59, 58)


def stamps(form: str, share: int, zone: str) -> "pd.Series[str]":
    random = np.random.default_rng(share)
    moments = [BEGIN + timedelta(seconds=int(passed)) for passed in random.integers(0, 10**9, 40)]
    shares = ["." + f"{number:09d}"[:share] if share else "" for number in random.integers(0, 10**9, 40)]
    return pd.Series([at.strftime(form) + end + zone for at, end in zip(moments, shares, strict=True)], dtype="str")


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("share", [0, 1, 3, 6, 9])
@pytest.mark.parametrize("zone", ["", "Z"])
@pytest.mark.parametrize("wrong", [None, "2026-02-30", "2026-13-01"])
def test_both_ways_read_the_same(
    monkeypatch: pytest.MonkeyPatch, form: str, share: int, zone: str, wrong: str | None
) -> None:
    """Whatever the mark, the digits of a second and the zone; a date that is none is no moment."""
    column = stamps(form, share, zone)
    if wrong:
        column.iloc[7] = wrong + str(column.iloc[7])[10:]
    quick = clocks._stamps(column)
    assert quick is not None
    monkeypatch.setattr(clocks, "_stamps", lambda _: None)
    slow = clocks.read_moments(column)
    assert slow is not None
    np.testing.assert_array_equal(quick.nanos, slow.nanos)
    assert (quick.nanos == clocks.NEVER).sum() == bool(wrong)
    assert (quick.kind, quick.text, quick.zoned, quick.assumed) == (slow.kind, slow.text, slow.zoned, slow.assumed)


@pytest.mark.parametrize(
    "other", ["", "2026-03-01 06:00:00", "2026-03-01T06:00:0x", "2026-03-01T06:00:00Z", "٢٠٢٦-٠٣-٠١T٠٦:٠٠:٠٠"]
)
def test_another_form_is_left_to_the_others(other: str) -> None:
    """One cell of another form, and none is read at once."""
    assert clocks._stamps(pd.Series(["2026-03-01T06:00:00", other], dtype="str")) is None
