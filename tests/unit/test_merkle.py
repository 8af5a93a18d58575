"""The tree of RFC 9162, beside the reference implementation's figures and its definition in the text."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.shared.merkle import EMPTY, Tree, leaf_hash, node_hash

# Source: certificate-transparency, cpp/merkletree/merkle_tree_test.cc, kTestVectors; the roots of the first 1 to 8.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grown(leaves: Sequence[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf_hash(leaf))
    return tree


def defined(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(defined(leaves[:split]), defined(leaves[split:]))


def proof(size: int, leaves: Sequence[bytes], is_whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1, word for word: that the first `size` leaves are those of these."""
    if size == len(leaves):
        return [] if is_whole else [defined(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if size <= split:
        return [*proof(size, leaves[:split], is_whole), defined(leaves[split:])]
    return [*proof(size - split, leaves[split:], False), defined(leaves[:split])]


def are_consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2, word for word, of 0 < first < second."""
    if first.bit_count() == 1:
        path = [first_root, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for each in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(each, fr), node_hash(each, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, each)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (first_root, second_root, 0)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    """Each tree of the first leaves has the root that Certificate Transparency's own tests give."""
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size - 1]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 9162, 2.1.1."""
    assert Tree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.lists(st.binary(max_size=4), max_size=70), st.integers(0, 70))
def test_a_tree_is_the_one_of_the_text_wherever_it_was_kept(leaves: list[bytes], at: int) -> None:
    """Grown leaf by leaf, and on from its hashes, its root is what the definition says."""
    at = min(at, len(leaves))
    begun = grown(leaves[:at])
    tree = Tree.from_bytes(at, begun.to_bytes())
    for leaf in leaves[at:]:
        tree.add(leaf_hash(leaf))
    assert tree.root() == defined(leaves)
    assert grown(leaves[:at]).root() == begun.root() == defined(leaves[:at])


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=40), st.data())
def test_a_later_tree_is_consistent_with_an_earlier_one(leaves: list[bytes], data: st.DataObject) -> None:
    """By the proof of the text; with a leaf of the earlier one changed no longer."""
    first = data.draw(st.integers(1, len(leaves) - 1))
    path = proof(first, leaves)
    roots = grown(leaves[:first]).root(), grown(leaves).root()
    assert are_consistent(first, roots[0], len(leaves), roots[1], path)
    changed = data.draw(st.integers(0, first - 1))
    others = [*leaves[:changed], leaves[changed] + b"!", *leaves[changed + 1 :]]
    assert not are_consistent(first, grown(others[:first]).root(), len(leaves), roots[1], path)
    assert grown(others).root() != roots[1]


@pytest.mark.parametrize(("size", "count"), [(0, 1), (3, 1), (4, 2), (-1, 0)])
def test_other_hashes_are_no_tree(size: int, count: int) -> None:
    """A tree has one hash for each 1 of its size as a binary number."""
    with pytest.raises(ValueError, match="other hashes"):
        Tree.from_bytes(size, bytes(32 * count))
