"""A change to the trust repository that is drawn up and verified as a host would before a single file is written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from crl_server.trust.repository import Repository
from crl_server.trust.signing import SigningKey
from crl_server.trust.trust_files import TrustFiles
from verifier.deployment.trust import Trust


class _Unwritten(TrustFiles):
    """The files on disk, and over them those that are not there yet, in the order in which they have to be written."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.added: dict[str, bytes] = {}

    def trust(self) -> Trust:
        return self._verified()

    def put(self, name: str, data: bytes) -> None:
        self.added[name] = data

    def _has(self, name: str) -> bool:
        return name in self.added or super()._has(name)

    def _bytes(self, name: str) -> bytes:
        return self.added[name] if name in self.added else super()._bytes(name)


class Draft(Repository):
    """The repository as it would be.

    Args:
        directory: ``public/trust`` of the deployment.

    Attributes:
        files: what was added, in its order, by its path below the directory.
    """

    def __init__(self, directory: Path) -> None:
        unwritten = _Unwritten(directory)
        super().__init__(directory, unwritten)
        self.files = unwritten.added

    def add(self, name: str, data: bytes) -> None:
        """Add a file, by its path below the repository."""
        self._files.put(name, data)

    def announce(self, before: Trust, root: int, versions: dict[str, int], online: SigningKey, now: datetime) -> None:
        """Sign snapshot and timestamp over what was added, and verify the whole as hosts do.

        Args:
            before: what is in force.
            root: the version of the root that it will be judged by.
            versions: those of ``targets`` and ``checkpoints``.
            online: the key that this root names for it.
            now: the moment (aware, UTC).

        Raises:
            Refused: ``trust.*``: no host would accept it.
        """
        self._announce(before.roles["snapshot"].version, before.roles["timestamp"].version, versions, online, now)
        found = self.trust()
        expected = {"root": root, **versions}
        assert {name: found.roles[name].version for name in expected} == expected  # noqa: S101 - our own arithmetic
