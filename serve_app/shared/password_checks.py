"""Checks and hashes passwords one at a time, on a thread that leaves the processor to whatever else wants it.

Either takes a core some 25 ms on purpose; who floods a service with them must not take that from detection.
"""

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pipelines.errors import Overloaded
from serve_app.shared import credentials
from serve_app.shared.turns import Turns

# How nice the thread is. Source: Linux, `sched_prio_to_weight`: it has 110 shares where any other has 1024, so that
# beside one that has work to do it gets a tenth of a core, and all of an idle one.
NICE = 10
# Log-ins in hand: of all strangers, and of each account that comes from a device known to it. Source: own choice; the
# last of sixteen waits half a second on an idle machine, and four on a busy one.
STRANGERS_MAX, OF_ACCOUNT_MAX = 16, 2
STRANGERS = 0  # no account has this number
# Passwords that a tenant's administrators and people set at a time. Source: own choice; as many as strangers.
OF_TENANT_MAX = 16
RETRY_S = 2


class PasswordChecks:
    """Takes log-ins in turn: that of a known device waits for one of each other account at most, strangers for all.

    So does whoever sets passwords, by tenant.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "passwords", initializer=_be_nice)
        self._turns = Turns(1, 1)
        self._in_hand: Counter[int] = Counter()

    @contextmanager
    def place(self, account: int) -> Iterator[None]:
        """Hold one of the places of an account's known devices, of strangers, or of a tenant as `hash` names it.

        Raises:
            Overloaded: All are held.
        """
        if self._in_hand[account] >= _most(account):
            raise Overloaded(RETRY_S)
        self._in_hand[account] += 1
        try:
            yield
        finally:
            self._in_hand[account] -= 1
            if not self._in_hand[account]:
                del self._in_hand[account]

    async def verify(self, account: int, password_hash: str, password: str) -> bool:
        """Tell whether a password is the hashed one, when it is the account's turn."""
        async with self._turns.turn(account):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, credentials.verify_password, password_hash, password)

    async def hash(self, tenant_id: int, password: str) -> str:
        """Return the hash of a new password, when it is the tenant's turn.

        Raises:
            Overloaded: Too many of the tenant's wait.
        """
        tenant = -tenant_id  # no account has such a number
        with self.place(tenant):
            async with self._turns.turn(tenant):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, credentials.hash_password, password)


def _most(account: int) -> int:
    if account < 0:
        return OF_TENANT_MAX
    return STRANGERS_MAX if account == STRANGERS else OF_ACCOUNT_MAX


def _be_nice() -> None:
    """Lower the priority of this thread; elsewhere than on Linux that is a process's alone, and is left."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
