"""An append-only Merkle tree over hashed leaves (RFC 6962, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.sigstore.keys import sha256


class Tree:
    """The leaves of a log."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []

    def append(self, body: bytes) -> tuple[int, int, bytes, list[bytes]]:
        """Add a leaf; gives its index, the tree's size, its root, and the path from the leaf to it."""
        self._leaves.append(sha256(b"\0" + body))
        index, size = len(self._leaves) - 1, len(self._leaves)
        return index, size, _root(self._leaves), _path(index, self._leaves)


def _split(leaves: Sequence[bytes]) -> int:
    return 1 << ((len(leaves) - 1).bit_length() - 1)


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = _split(leaves)
    return sha256(b"\1" + _root(leaves[:half]) + _root(leaves[half:]))


def _path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = _split(leaves)
    if index < half:
        return [*_path(index, leaves[:half]), _root(leaves[half:])]
    return [*_path(index - half, leaves[half:]), _root(leaves[:half])]
