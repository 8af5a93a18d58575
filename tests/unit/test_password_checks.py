"""Rules of how passwords are checked while others want the processor."""

import asyncio
import os
import sys
import threading

import pytest

from pipelines.errors import Overloaded
from serve_app.shared import credentials, password_checks
from serve_app.shared.password_checks import NICE, OF_ACCOUNT_MAX, STRANGERS, STRANGERS_MAX, PasswordChecks


async def test_one_at_a_time_on_a_thread_that_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many log in, one password is checked at a time, on a thread of lower priority than all others."""
    running, most, seen = 0, 0, set()

    def verify(_: str, __: str) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else NICE
        seen.add((threading.get_ident(), nice))
        running -= 1
        return True

    monkeypatch.setattr(credentials, "verify_password", verify)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    checks = PasswordChecks()
    assert all(await asyncio.gather(*(checks.verify(number % 3, "", "") for number in range(30))))
    ((thread, nice),) = seen
    assert most == 1
    assert thread != threading.get_ident()
    assert nice == max(NICE, own)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_strangers_beyond_the_places_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have so many places and no more, and fill none that a known device has; places come back."""
    monkeypatch.setattr(password_checks, "STRANGERS_MAX", 3)
    checks = PasswordChecks()
    held = [checks.place(STRANGERS) for _ in range(3)]
    for each in held:
        each.__enter__()
    with pytest.raises(Overloaded) as refused, checks.place(STRANGERS):
        pass
    assert refused.value.retry_after_s > 0
    for _ in range(2):  # an account's own, however often
        with checks.place(7):
            pass
    held[0].__exit__(None, None, None)
    with checks.place(STRANGERS):
        pass


async def test_a_known_device_waits_for_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind all strangers who wait, the log-in of a device known to its account has the next turn."""
    order: list[str] = []
    go_on = threading.Event()

    def verify(_: str, password: str) -> bool:
        go_on.wait(10)
        order.append(password)
        return True

    monkeypatch.setattr(credentials, "verify_password", verify)
    checks = PasswordChecks()
    strangers = [asyncio.create_task(checks.verify(STRANGERS, "", f"stranger {n}")) for n in range(STRANGERS_MAX)]
    await asyncio.sleep(0)
    owner = asyncio.create_task(checks.verify(7, "", "owner"))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(owner, *strangers)
    assert order.index("owner") <= OF_ACCOUNT_MAX
