"""Verifies the audit, in the database or a file of it: each note is where and as it was when its tree was signed.

A tree is a stream: where it begins, then its leaves with their notes, each checkpoint after the leaves that it is of.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from serve_app.shared.checkpoints import Checkpoint, KeptCheckpoint, Verifier, origin_of, said_by, tenant_of, tree_of
from serve_app.shared.merkle import EMPTY, Tree, leaf_hash
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.records import written
from serve_app.store.records_audit import Base, Leaf, Unsealed, content_of
from serve_app.store.seals import Seals

# By which a note's moment may lie outside of those between which it was sealed: its transaction takes time, and the
# clocks of two machines differ. Source: the longest that HDX_DATABASE__WAITS__LONG_S can be set to.
APART_S = 3600
# For which a note may wait to be sealed. Source: own choice; sixty times as long as it takes while the service works.
UNSEALED_MAX_S = 300
NOTHING = Checkpoint(None, 0, EMPTY, 0, 0, 0)
Item = Base | Leaf | KeptCheckpoint


class Tampered(Exception):
    """The first thing that does not hold."""


@dataclass(slots=True)
class Verified:
    """What was found of one tree.

    Attributes:
        tenant_id: Whose; None for the platform's.
        notes: That hold.
        checkpoints: That hold.
        dropped: Notes before the first, which retention has dropped, as is signed.
        newest: The last checkpoint that holds; None where there is none.
        unsealed: Notes that are in no checkpoint yet.
        finding: The first thing that does not hold; empty where all does.
    """

    tenant_id: int | None
    notes: int = 0
    checkpoints: int = 0
    dropped: int = 0
    newest: Checkpoint | None = None
    unsealed: Unsealed = field(default_factory=lambda: Unsealed(0, None, None))
    finding: str = ""


class TreeCheck:
    """Grows a tree once more, and compares."""

    def __init__(self, base: Base, verifier: Verifier) -> None:
        self.found = Verified(base.tenant_id)
        self._verifier = verifier
        self._tree = Tree()
        self._through = 0
        self._spans: tuple[tuple[str, Any], tuple[str, Any]] | None = None
        if base.kept is not None:
            said = self._read(base.kept)
            self._tree, self.found.dropped, self._through = self._tree_of(said, base.kept), said.size, said.through

    def take(self, item: Leaf | KeptCheckpoint) -> None:
        """Compare what comes next.

        Raises:
            Tampered: It does not hold.
        """
        if isinstance(item, Leaf):
            self._take_leaf(item)
        else:
            self._take_checkpoint(item)

    def _take_leaf(self, leaf: Leaf) -> None:
        size = self._tree.size
        if leaf.leaf_index < size:
            what = "retention had dropped it" if leaf.leaf_index < self.found.dropped else "its place is another one's"
            raise Tampered(f"note {leaf.audit_id} at {leaf.leaf_index} was added: {what}")
        if leaf.leaf_index > size:
            raise Tampered(f"the note at {size} was removed with its leaf; the next one is note {leaf.audit_id}")
        if leaf.note is None:
            raise Tampered(f"note {leaf.audit_id} at {leaf.leaf_index} was removed")
        if leaf_hash(content_of(leaf.note)) != leaf.hash:
            raise Tampered(f"note {leaf.audit_id} at {leaf.leaf_index} was changed")
        if leaf.note.get("tenant_id") != self.found.tenant_id or leaf.note.get("audit_id") != leaf.audit_id:
            raise Tampered(f"note {leaf.audit_id} at {leaf.leaf_index} is of another tree")
        self._tree.add(leaf.hash)
        self.found.notes += 1
        this = str(leaf.note.get("created_at")), leaf.audit_id
        first, last = self._spans or (this, this)
        self._spans = min(first, this), max(last, this)

    def _take_checkpoint(self, kept: KeptCheckpoint) -> None:
        said = self._read(kept)
        size, newest = self._tree.size, self.found.newest
        if said.size < self.found.dropped:
            return  # of what retention has dropped since; its signature holds
        if said.size < size:
            raise Tampered(f"the checkpoint of {said.size} notes was added after one of {size}, or moved")
        if said.size > size:
            at = written(datetime.fromtimestamp(said.time, UTC))
            raise Tampered(f"the note at {size} was removed with its leaf; {said.size} were signed at {at}")
        if said.root != self._tree.root():
            since = self.found.dropped if newest is None else newest.size
            raise Tampered(f"the checkpoint of {size} notes is of others: the change is in {since} to {size - 1}")
        self._check_moments(said)
        if newest is None or (said.size, said.dropped, said.time) > (newest.size, newest.dropped, newest.time):
            self.found.newest = said
        self.found.checkpoints += 1

    def _check_moments(self, said: Checkpoint) -> None:
        """Find notes that say that they were written long before or after they were sealed."""
        if self._spans is not None:
            (first, first_id), (last, last_id) = self._spans
            if self._through and first < _moment(self._through - APART_S):
                raise Tampered(
                    f"note {first_id} was added later than {first}: all notes of that time were sealed before"
                )
            if last > _moment(said.time + APART_S):
                raise Tampered(f"note {last_id} was added, or sealed, before {last}, when it says that it was written")
        self._spans, self._through = None, max(self._through, said.through)

    def end(self) -> None:
        """Compare what there is with what was signed last.

        Raises:
            Tampered: It does not hold.
        """
        newest = self.found.newest
        if self._tree.size > (self.found.dropped if newest is None else newest.size):
            raise Tampered(f"the note at {0 if newest is None else newest.size} is in no checkpoint: it was added")
        if self.found.dropped != (0 if newest is None else newest.dropped):
            raise Tampered(f"{self.found.dropped} notes are dropped; that was not signed")

    def _read(self, kept: KeptCheckpoint) -> Checkpoint:
        try:
            said = self._verifier.read(kept.note)
        except ValueError as error:
            lines = kept.note.splitlines()
            shown = lines[1][:20] if len(lines) > 1 else "?"
            raise Tampered(f"the checkpoint of {shown} notes {error}") from None
        if said.tenant_id != self.found.tenant_id:
            raise Tampered(f"the checkpoint of {said.size} notes is of {origin_of(said.tenant_id)}")
        return said

    def _tree_of(self, said: Checkpoint, kept: KeptCheckpoint) -> Tree:
        try:
            return tree_of(said, kept.hashes)
        except ValueError as error:
            raise Tampered(f"the checkpoint of {said.size} notes {error}") from None


# --- in the database


async def verify(
    seals: Seals, files: CheckpointFiles, verifier: Verifier, *, files_kept: bool = True
) -> AsyncIterator[Verified]:
    """Verify all trees, the platform's first.

    Args:
        seals: The database.
        files: Of this machine.
        verifier: With the keys that are believed.
        files_kept: Whether a tree whose checkpoints are in no file, or not all, is a finding.

    Raises:
        Unavailable: The database does not answer.
    """
    known = {*await seals.tenants(), *files.tenants()}
    for tenant_id in sorted(known, key=lambda each: each or 0):
        found = await verify_tree(seals, files, verifier, tenant_id, files_kept=files_kept)
        if found.finding:  # while it was read retention may have dropped what was read next
            found = await verify_tree(seals, files, verifier, tenant_id, files_kept=files_kept)
        yield found


async def verify_tree(
    seals: Seals, files: CheckpointFiles, verifier: Verifier, tenant_id: int | None, *, files_kept: bool = True
) -> Verified:
    """Verify one tree.

    Raises:
        Unavailable: The database does not answer.
    """
    found = Verified(tenant_id)
    try:
        check: TreeCheck | None = None
        before = await seals.newest(tenant_id)  # and in the file by the time that the tree is read
        async for item in tree(seals, files, verifier, tenant_id):
            if isinstance(item, Base):
                check = TreeCheck(item, verifier)
                found = check.found
            elif check is not None:
                check.take(item)
        if check is not None:
            check.end()
        found.unsealed = await seals.outside(tenant_id)
        _check_unsealed(found)
        last = files.newest(tenant_id)
        if last is not None and not await seals.has(tenant_id, last.note):
            raise Tampered(f"the checkpoint of {said_by(last.note)[0].size} notes was removed: the file has it")
        if files_kept and before is not None:
            _check_file(files.path(tenant_id).name, before, last)
    except ValueError as error:
        found.finding = f"a line of {files.path(tenant_id).name} {error}"
    except Tampered as error:
        found.finding = str(error)
    return found


def _check_file(name: str, newest: KeptCheckpoint, last: KeptCheckpoint | None) -> None:
    """Find a file that is gone, or cut: with it goes what would show that the database was."""
    said = said_by(newest.note)[0]
    filed = NOTHING if last is None else said_by(last.note)[0]
    if (filed.size, filed.dropped, filed.time) < (said.size, said.dropped, said.time):
        lacks = "is not there" if last is None else f"ends with {filed.size} notes"
        rule = f"the database has a checkpoint of {said.size}; what was removed from the end of both cannot be told"
        raise Tampered(f"{name} {lacks}, and {rule}")


def _check_unsealed(found: Verified) -> None:
    unsealed, newest = found.unsealed, found.newest
    if unsealed.oldest is None:
        return
    at, oldest = written(unsealed.oldest), unsealed.oldest.timestamp()
    if newest is not None and oldest < newest.through - APART_S:
        raise Tampered(f"note {unsealed.audit_id} of {at} is not in the tree: it was added, or moved here")
    if oldest < datetime.now(UTC).timestamp() - UNSEALED_MAX_S:
        what = f"note {unsealed.audit_id} of {at} is not sealed, {UNSEALED_MAX_S // 60} minutes and more later"
        raise Tampered(f"{what}: the service is not running, or its log says why (audit.forked, audit.blocked)")


async def tree(seals: Seals, files: CheckpointFiles, verifier: Verifier, tenant_id: int | None) -> AsyncIterator[Item]:
    """Yield what there is of a tree now; checkpoints of the file are among those of the database.

    Raises:
        Unavailable: The database does not answer.
        ValueError: The file holds what is no checkpoint.
    """
    last = files.newest(tenant_id)  # before the database is read, which has it by then
    newest = await seals.newest(tenant_id)
    size, number = await seals.extent(tenant_id)
    dropped = max(_signed(kept, verifier).dropped for kept in (last, newest))
    bases = [*await seals.of_size(tenant_id, dropped), *files.read(tenant_id)] if dropped else []
    yield Base(tenant_id, next((each for each in bases if _signed(each, verifier).size == dropped), None))
    leaves = seals.leaves(tenant_id, size)
    leaf = await anext(leaves, None)
    async for kept in _merged(seals.checkpoints(tenant_id, number), _until(files.read(tenant_id), last)):
        while leaf is not None and leaf.leaf_index < _size(kept):
            yield leaf
            leaf = await anext(leaves, None)
        yield kept
    while leaf is not None:
        yield leaf
        leaf = await anext(leaves, None)


async def _merged(
    kept: AsyncIterator[KeptCheckpoint], filed: Iterator[KeptCheckpoint]
) -> AsyncIterator[KeptCheckpoint]:
    """Yield checkpoints of both by size; one that follows itself once."""
    line = next(filed, None)
    async for each in kept:
        while line is not None and (line == each or _size(line) < _size(each)):
            if line != each:
                yield line
            line = next(filed, None)
        yield each
    while line is not None:
        yield line
        line = next(filed, None)


def _until(filed: Iterator[KeptCheckpoint], last: KeptCheckpoint | None) -> Iterator[KeptCheckpoint]:
    for each in filed if last is not None else ():
        yield each
        if each == last:
            return


def _size(kept: KeptCheckpoint) -> int:
    """Return the size that a checkpoint says, whoever signed it; 0 where it is none, so that it is soon looked at."""
    try:
        return said_by(kept.note)[0].size
    except ValueError:
        return 0


def _signed(kept: KeptCheckpoint | None, verifier: Verifier) -> Checkpoint:
    """Return what a checkpoint says where it is signed, else one of nothing."""
    try:
        return NOTHING if kept is None else verifier.read(kept.note)
    except ValueError:
        return NOTHING


# --- in a file


def line_of(item: Item) -> bytes:
    """Return an item as a line of a file, without its end."""
    if isinstance(item, KeptCheckpoint):
        return item.to_line()
    if isinstance(item, Leaf):
        leaf = {"leaf": item.leaf_index, "hash": item.hash.hex(), "audit_id": item.audit_id, "row": item.note}
        return orjson.dumps(leaf)
    base = None if item.kept is None else orjson.loads(item.kept.to_line())
    return orjson.dumps({"log": origin_of(item.tenant_id), "base": base})


def item_of(line: bytes) -> Item:
    """Read a line.

    Raises:
        ValueError: It is no line of an exported audit.
    """
    try:
        read = orjson.loads(line)
        if "log" in read:
            kept = None if read["base"] is None else KeptCheckpoint.from_line(orjson.dumps(read["base"]))
            return Base(tenant_of(read["log"]), kept)
        if "leaf" in read:
            note = read["row"]
            if not isinstance(read["leaf"], int) or not isinstance(note, dict | None):
                raise TypeError
            return Leaf(read["leaf"], bytes.fromhex(read["hash"]), read["audit_id"], note)
    except (TypeError, KeyError, ValueError):
        raise ValueError("is no line of an exported audit") from None
    return KeptCheckpoint.from_line(line)


def verify_file(lines: Iterable[bytes], verifier: Verifier) -> Iterator[Verified]:
    """Verify the trees of an exported audit.

    Raises:
        ValueError: It does not begin as one.
    """
    check: TreeCheck | None = None
    found: Verified | None = None
    for number, line in enumerate(lines, 1):
        try:
            item = _read(line)
            if isinstance(item, Base):
                if found is not None:
                    yield _ended(found, check)
                found, check = Verified(item.tenant_id), None
                check = TreeCheck(item, verifier)
                found = check.found
            elif found is None:
                raise ValueError("the file is no exported audit")
            elif check is not None:
                check.take(item)
        except Tampered as error:
            if found is None:
                raise ValueError(str(error)) from None
            found.finding, check = f"line {number}: {error}", None
    if found is None:
        raise ValueError("the file is no exported audit")
    yield _ended(found, check)


def _read(line: bytes) -> Item:
    try:
        return item_of(line)
    except ValueError as error:
        raise Tampered(str(error)) from None


def _ended(found: Verified, check: TreeCheck | None) -> Verified:
    try:
        if check is not None:
            check.end()
    except Tampered as error:
        found.finding = str(error)
    return found


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
