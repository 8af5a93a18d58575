"""What is signed of the audit, and what no other key, text or line passes for."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.shared.checkpoints import Checkpoint, KeptCheckpoint, Signer, Verifier, origin_of, tenant_of, tree_of
from serve_app.shared.credentials import audit_seed
from serve_app.shared.merkle import Tree, leaf_hash
from serve_app.store.checkpoint_files import CheckpointFiles
from serve_app.store.records_audit import HASHED, content_of, hashed
from serve_app.store.tables_audit import audit

SIGNER, OTHER = Signer(audit_seed("a" * 32)), Signer(audit_seed("b" * 32))
VERIFIER = Verifier([SIGNER.public_key])


def tree(size: int) -> Tree:
    grown = Tree()
    for number in range(size):
        grown.add(leaf_hash(str(number).encode()))
    return grown


def signed(size: int = 5, tenant_id: int | None = 7, signer: Signer = SIGNER, dropped: int = 0) -> KeptCheckpoint:
    grown = tree(size)
    return signer.sign(Checkpoint(tenant_id, size, grown.root(), 1_800_000_000, 1_799_999_999, dropped), grown)


@given(
    st.none() | st.integers(1, 2**31 - 1),
    st.integers(0, 300),
    st.integers(0, 10**11 - 1),
    st.integers(0, 10**11 - 1),
    st.integers(0, 300),
)
def test_what_is_signed_is_read(tenant_id: int | None, size: int, time: int, through: int, dropped: int) -> None:
    """A checkpoint comes back as it was, and the tree that it is of grows on from it."""
    said = Checkpoint(tenant_id, size, tree(size).root(), time, through, dropped)
    kept = KeptCheckpoint.from_line(SIGNER.sign(said, tree(size)).to_line())
    assert VERIFIER.read(kept.note) == said
    assert tree_of(said, kept.hashes).root() == said.root
    assert tenant_of(origin_of(tenant_id)) == tenant_id


@given(st.data())
def test_no_changed_note_holds(data: st.DataObject) -> None:
    """Any one character changed, taken away or put in: it is no checkpoint, or it is not signed."""
    note = signed().note
    at = data.draw(st.integers(0, len(note) - 1))
    char = data.draw(st.characters(codec="utf-8"))
    for other in (note[:at] + char + note[at + 1 :], note[:at] + note[at + 1 :], note[:at] + char + note[at:]):
        if other != note:
            with pytest.raises(ValueError, match=r"is no checkpoint|signed by none"):
                VERIFIER.read(other)


def test_another_key_does_not_pass() -> None:
    """Nor under the name of ours; with its own key it does, and one of several is enough."""
    note = signed(signer=OTHER).note
    with pytest.raises(ValueError, match="signed by none"):
        VERIFIER.read(note)
    assert Verifier([SIGNER.public_key, OTHER.public_key]).read(note).size == 5
    ours, theirs = SIGNER.public_key.split("+"), OTHER.public_key.split("+")
    for wrong in ("", "x", "+".join([ours[0], ours[1], theirs[2]]), "+".join(["x", *ours[1:]])):
        with pytest.raises(ValueError, match="is no key"):
            Verifier([wrong])


def test_hashes_of_another_tree_are_refused() -> None:
    """A tree grows on from hashes whose root was signed, and from no others."""
    said = VERIFIER.read(signed().note)
    with pytest.raises(ValueError, match="another tree"):
        tree_of(said, signed(6).hashes)
    with pytest.raises(ValueError, match="another tree"):
        tree_of(replace(said, root=tree(6).root()), signed().hashes)


def test_the_hash_is_of_all_columns() -> None:
    """A new column is a decision about what is hashed; the bytes of a note are what they were."""
    assert set(HASHED) == set(audit.c.keys())
    row = {"tenant_id": 7, "audit_id": 1, "actor": 'a"\u00e9', "action": "x", "subject": "s", "detail": ""}
    note = hashed(row | {"created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)})
    assert content_of(note).decode() == (
        '{"action":"x","actor":"a\\"\u00e9","audit_id":1,"created_at":"2026-01-02T03:04:05.000000+00:00",'
        '"detail":"","subject":"s","tenant_id":7}'
    )


def test_a_file_keeps_what_is_appended(tmp_path: Path) -> None:
    """In order, for its owner alone; what a dying process left of a line is passed over, and written over."""
    files = CheckpointFiles(tmp_path / "audit")
    assert (files.newest(7), files.tenants(), list(files.read(7))) == (None, [], [])
    for size in (1, 2):
        files.append(7, signed(size))
    files.append(None, signed(3, None))
    with files.path(7).open("ab") as file:
        file.write(b'{"note":"torn')
    assert [files.newest(7), *files.read(7)] == [signed(2), signed(1), signed(2)]
    files.append(7, signed(4))
    assert [files.newest(7), *files.read(7)] == [signed(4), signed(1), signed(2), signed(4)]
    assert files.tenants() == [None, 7]
    files.shorten(7, 2)
    assert list(files.read(7)) == [signed(2), signed(4)]
    assert {S_IMODE(path.stat().st_mode) for path in (tmp_path / "audit").iterdir()} == {0o600}
    assert S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    """Whoever comes second is told so."""
    files = CheckpointFiles(tmp_path)
    with files.alone(), pytest.raises(BlockingIOError), files.alone():
        pass
    with files.alone():
        pass
