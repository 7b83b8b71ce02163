"""What of the public tree hosts can need now, in the order in which a copy of it is written.

1. what is named by its content: bases, segments, rules, policy, checkpoint, trusted roots; what is said of artifacts
2. metadata of trust, named by versions that only the timestamp leads to
3. the roots, the oldest first: hosts find a new one by asking for it
4. the timestamp
5. the head
6. the enrolment bundle

Each names only what came before it, so that whoever reads a copy at any moment finds all that the head and the
timestamp in it name. (The one exception is in docs/spec/export.md: the moment between 4 and 5 when the epoch changes.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Targets

from crl_server.layout import Layout
from crl_server.lists.public_files import ENROLMENT, HEAD, TIMESTAMP, kind_of
from crl_server.lists.stamps import stamps
from crl_server.service import Authority, Standing
from crl_server.trust.trust_files import TrustFiles, target_name
from verifier.errors import Unreachable
from verifier.files import read_capped

MAX_POINTER = 16 * 1024 * 1024
"""Size cap of timestamp, head and enrolment bundle, in bytes."""
_SETS = ("records", "sets", "releases")
TRIES = 20
"""How often the tree is read again when it changes meanwhile."""


@dataclass(frozen=True)
class Tree:
    """The tree at one moment, verified.

    Attributes:
        standing: what trust and list say.
        fixed: paths of what never changes under its name, in the order above, but for the roots.
        sets: paths of attestation sets, of RECORDs, and of the lists of releases' wheels, which name both.
        roots: paths of the roots, the oldest first.
        pointers: path and content of timestamp, head and enrolment bundle, in this order.
    """

    standing: Standing
    fixed: tuple[str, ...]
    sets: tuple[str, ...]
    roots: tuple[str, ...]
    pointers: tuple[tuple[str, bytes], ...]

    @property
    def paths(self) -> frozenset[str]:
        """Every path of the tree."""
        return frozenset((*self.fixed, *self.sets, *self.roots, *(path for path, _ in self.pointers)))


def read_tree(authority: Authority, now: datetime) -> Tree:
    """Read and verify the tree, without keeping anybody from publishing.

    Raises:
        Refused: ``server.not-ready``, ``trust.*``: what does not verify is not copied.
        UsageError: ``io.failed``.
        Unreachable: ``io.failed`` when the tree does not stay the same for long enough.
    """
    root = authority.layout.public
    watched = watched_files(authority.layout)
    for _ in range(TRIES):
        before = stamps(watched)
        pointers = tuple((name, read_capped(root / name, MAX_POINTER, name)) for name in (TIMESTAMP, HEAD, ENROLMENT))
        standing = authority.standing(now)
        found = Tree(
            standing,
            (*_list_files(standing), *_trust_files(authority, standing)),
            tuple(_sets(authority.layout)),
            tuple(f"trust/metadata/{version}.root.json" for version in range(1, standing.trust.root_version + 1)),
            pointers,
        )
        if stamps(watched) == before and standing.revocations.envelope == dict(pointers)[HEAD]:
            return found
    raise Unreachable("io.failed", "the public tree changes faster than it can be read")


def watched_files(layout: Layout) -> list[Path]:
    """Whatever changes when the tree does."""
    return [layout.public / name for name in (TIMESTAMP, HEAD, ENROLMENT, *_SETS)]


def _list_files(standing: Standing) -> Iterator[str]:
    head, checkpoint = standing.revocations.head, standing.trust.checkpoint
    yield f"lists/bases/{checkpoint.root}"
    yield from (f"lists/segments/{ref.sha256}" for ref in head.segments)
    yield from dict.fromkeys(f"lists/rules/{sha256}" for sha256 in (checkpoint.rules, head.rules.sha256))


def _trust_files(authority: Authority, standing: Standing) -> Iterator[str]:
    trust, files = standing.trust, TrustFiles(authority.layout.trust)
    roles = [f"{trust.roles[role].version}.{role}.json" for role in ("targets", "checkpoints", "snapshot")]
    for name in roles[:2]:
        listed = files.read(name, Targets).targets
        yield from (f"trust/{target_name(path, found.hashes['sha256'])}" for path, found in listed.items())
    yield from (f"trust/metadata/{name}" for name in roles)


def _sets(layout: Layout) -> Iterator[str]:
    for folder in _SETS:
        directory = layout.public / folder
        if directory.is_dir():
            names = (f"{folder}/{entry.name}" for entry in directory.iterdir())
            yield from sorted(name for name in names if kind_of(name))
