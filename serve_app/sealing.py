"""Seals the audit: every few seconds each tenant's new notes become leaves of its tree, and what it is now is signed.

It lives beside the promoter, off every request's path. What it signs grows on from what it has signed before: where the
database shows another past it signs nothing more, and says so.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf

from configs.settings import DatabaseWaits, Settings
from serve_app.shared import logs
from serve_app.shared.checkpoints import Checkpoint, KeptCheckpoint, Signer, Verifier, said_by, tree_of
from serve_app.shared.credentials import audit_seed
from serve_app.shared.merkle import Tree
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.seals import Seals, Signed, Span

FOLDER = "audit"  # below HDX_HOME
# Between two looks for new notes, between two for those that a look may have passed over, and between two clearings.
# Source: own choices; a note that the database's owner changes within the first is not missed, and a look costs
# milliseconds.
EVERY_S, WHOLE_S, CLEARING_S = 5.0, 3600.0, 3600.0
AHEAD_S = 60.0  # by which a transaction may outlast its limit; source: own choice


class Forked(Exception):
    """The database shows another past than the one that was signed."""


class Sealer:
    """Seals and, where the settings say so, drops what is old."""

    def __init__(self, seals: Seals, files: CheckpointFiles, signer: Signer, waits: DatabaseWaits) -> None:
        self._seals, self._files, self._signer = seals, files, signer
        self._verifier = Verifier([signer.public_key])
        # A note shows when its transaction ends, and says when that began.
        self._lately_s = max(waits.transaction_s, waits.long_s) + AHEAD_S
        self._looked = self._whole = self._cleared = -inf
        self._refused: dict[int | None, str] = {}  # and how each was logged
        self._sealing: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, seals: Seals, settings: Settings) -> "Sealer":
        """Return the sealer of the settings."""
        return cls(seals, CheckpointFiles(settings.home / FOLDER), signer_of(settings), settings.database.waits)

    def keep_up(self, days: int) -> None:
        """See to it that the sealing goes on; for whoever is asked for its health every few seconds.

        Args:
            days: For which notes are kept; 0 for ever.
        """
        if self._sealing is None or self._sealing.done():
            self._sealing = asyncio.create_task(self._go_on(days))

    async def _go_on(self, days: int) -> None:
        while True:
            with logs.surviving("audit.waits"):
                await self.seal()
            if days and time.monotonic() - self._cleared >= CLEARING_S:
                self._cleared = time.monotonic()
                with logs.surviving("audit.uncleared"):
                    await self.clear(days)
            await asyncio.sleep(EVERY_S)

    async def seal(self) -> int:
        """Seal what is new of all tenants; return how many notes that were.

        One that cannot be sealed is logged and holds up nobody else; all of his is looked at each time until he is.

        Raises:
            Unavailable: The database does not answer.
            OSError: Another one is sealing, or the files cannot be written.
        """
        begun, sealed = time.monotonic(), 0
        whole = begun - self._whole >= WHOLE_S
        within = None if whole else timedelta(seconds=begun - self._looked + self._lately_s)
        with self._files.alone():
            for tenant_id in {*await self._seals.unsealed(within), *self._refused}:
                try:
                    sealed += await self.seal_tree(tenant_id, None if tenant_id in self._refused else within)
                    self._refused.pop(tenant_id, None)
                except Exception as error:
                    self._refuse(tenant_id, error)
        self._looked, self._whole = begun, begun if whole else self._whole
        return sealed

    def _refuse(self, tenant_id: int | None, error: Exception) -> None:
        """Remember who could not be sealed; what is logged is logged once, until he is."""
        event = "audit.forked" if isinstance(error, Forked | ValueError) else "audit.blocked"
        if self._refused.get(tenant_id) != event:
            logs.write(event, logging.ERROR, error, tenant_id=tenant_id)
        self._refused[tenant_id] = event

    async def seal_tree(self, tenant_id: int | None, within: timedelta | None = None) -> int:
        """Seal what is new of a tenant, of so lately where that is given; return how many notes that were.

        Raises:
            Forked: The database shows another past than was signed.
            ValueError: What it shows is not signed.
            Unavailable: The database does not answer.
        """
        sealed, more = 0, True
        while more:
            added, more = await self._seal_some(tenant_id, within)
            sealed += added
        return sealed

    async def _seal_some(self, tenant_id: int | None, within: timedelta | None) -> tuple[int, bool]:
        """Seal as many notes as one transaction takes; return how many, and whether there are more."""
        begun, added, more = int(time.time()), 0, False

        def grow(newest: KeptCheckpoint | None, span: Span, hashes: Sequence[bytes], whole: bool) -> Signed:
            nonlocal added, more
            before, tree = self._resume(tenant_id, newest, span)
            for each in hashes:
                tree.add(each)
            added, more = len(hashes), not whole
            return self._sign(tree, before, begun if whole else before.through)

        signed = await self._seals.seal(tenant_id, within, grow)
        if signed is not None:
            await asyncio.to_thread(self._files.append, tenant_id, signed.kept)
        return added, more

    def _sign(self, tree: Tree, before: Checkpoint, through: int, dropped: int | None = None) -> Signed:
        dropped = before.dropped if dropped is None else dropped
        said = Checkpoint(before.tenant_id, tree.size, tree.root(), int(time.time()), through, dropped)
        return Signed(said, self._signer.sign(said, tree))

    def _resume(self, tenant_id: int | None, newest: KeptCheckpoint | None, span: Span) -> tuple[Checkpoint, Tree]:
        """Return what was signed last, and its tree.

        The file is this machine's own, and is believed whatever key has signed in it: keys change. The database is
        believed where its checkpoint is signed, and later than the file's.

        Raises:
            Forked: The database shows less than was signed, or something else.
            ValueError: What it shows is not signed.
        """
        known = self._files.newest(tenant_id)
        if known is None and newest is None:
            last, tree = Checkpoint(tenant_id, 0, Tree().root(), 0, 0, 0), Tree()
        elif newest is None:
            raise Forked("the database has lost its checkpoints")
        else:
            last = said_by(newest.note)[0] if newest == known else self._verifier.read(newest.note)
            tree = tree_of(last, newest.hashes)
            if known is not None and _order(last) < _order(said_by(known.note)[0]):
                raise Forked("the database has lost its newest checkpoints")
        if last.tenant_id != tenant_id:
            raise Forked("the newest checkpoint is another tenant's")
        if span != (Span(0, 0) if last.dropped == last.size else Span(last.dropped, last.size)):
            said = f"the database has leaves from {span.first} up to {span.end}"
            raise Forked(f"{said}; those from {last.dropped} up to {last.size} are signed")
        return last, tree

    async def clear(self, days: int) -> int:
        """Drop notes that were sealed so many days ago, of all tenants; return how many leaves went.

        How old they are is what is signed; what the notes themselves say the database's owner may have changed.

        Raises:
            Unavailable: The database does not answer; what went by then is gone.
            OSError: Another one is sealing, or the files cannot be written.
        """
        past = datetime.now(UTC) - timedelta(days=days)
        gone = 0
        with self._files.alone():
            for tenant_id in await self._seals.tenants():
                with logs.surviving("audit.uncleared", tenant_id=tenant_id):
                    gone += await self.clear_tree(tenant_id, past)
        logs.write("audit.cleared", logging.INFO, None, notes=gone)
        return gone

    async def clear_tree(self, tenant_id: int | None, past: datetime) -> int:
        """Drop a tenant's notes that were sealed before a moment; return how many leaves went."""
        gone = 0

        def drop(newest: KeptCheckpoint | None, span: Span, up_to: KeptCheckpoint) -> Signed | None:
            nonlocal gone
            last, tree = self._resume(tenant_id, newest, span)
            old = self._verifier.read(up_to.note)
            tree_of(old, up_to.hashes)
            gone = old.size - last.dropped
            if old.tenant_id != tenant_id or old.time >= past.timestamp() or gone <= 0:
                gone = 0
                return None
            return self._sign(tree, last, last.through, old.size)

        signed = await self._seals.drop(tenant_id, past, drop)
        if signed is not None:
            await asyncio.to_thread(self._files.append, tenant_id, signed.kept)
            await asyncio.to_thread(self._files.shorten, tenant_id, signed.said.dropped)
        return gone


def signer_of(settings: Settings) -> Signer:
    """Return who signs checkpoints with the key of the settings."""
    return Signer(audit_seed(settings.secret_key.get_secret_value()))


def _order(said: Checkpoint) -> tuple[int, int, int]:
    return said.size, said.dropped, said.time
