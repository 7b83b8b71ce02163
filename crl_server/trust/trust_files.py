"""The trust repository as it lies on disk: written, read, and verified as hosts verify it; once, while it stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from crl_server.lists.stamps import Stamp, stamps
from verifier.deployment.chain import trusted_root_name
from verifier.deployment.trust import Trust, verify_trust
from verifier.errors import LoadlockError, Refused
from verifier.files import read_capped, write_atomic

SignedT = TypeVar("SignedT", Root, Targets, Snapshot, Timestamp)

POLICY = "policy.json"
CHECKPOINT = "checkpoints/checkpoint.json"
MAX_FILE = 16 * 1024 * 1024
"""Size cap of any file of the repository in bytes."""

_RESTORE = "Restore 'public' and 'server' of this deployment together, from the newest copy there is."


class TrustFiles:
    """The files of one TUF repository.

    Args:
        directory: ``public/trust`` of the deployment.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read_so_far: dict[Path, Stamp | None] = {}
        self._known: tuple[dict[Path, Stamp | None], Trust] | None = None
        self._lock = threading.Lock()

    def trust(self) -> Trust:
        """What the repository says, verified from its first root by the rules that hosts follow; verified once, as long
        as no file that it rests on, and no directory of it, is another.

        Raises:
            Refused: ``trust.*`` when a file is missing, damaged or does not verify.
        """
        with self._lock:
            if self._known is not None and stamps(self._known[0]) == self._known[0]:
                return self._known[1]
            parts = ("metadata", "targets", "targets/checkpoints")
            self._read_so_far = stamps([self.directory / name for name in parts])
            found = self._verified()
            self._known = self._read_so_far, found
            return found

    def _verified(self) -> Trust:
        try:
            roots, metadata, files = self._stored()
        except LoadlockError as error:
            raise Refused(
                "trust.metadata", "the trust repository cannot be read", found=error.what, todo=_RESTORE
            ) from error
        except (RepositoryError, KeyError, ValueError, TypeError) as error:
            raise Refused(
                "trust.metadata", "the trust repository is damaged", found=str(error)[:200], todo=_RESTORE
            ) from error
        return verify_trust(roots[0], metadata, files)

    def root(self, version: int) -> bytes:
        """The bytes of one root.

        Raises:
            UsageError: ``io.failed``.
        """
        return self._bytes(f"metadata/{version}.root.json")

    def _stored(self) -> tuple[Sequence[bytes], Mapping[str, bytes], Mapping[str, bytes]]:
        roots = [self.root(1)]
        while self._has(f"metadata/{len(roots) + 1}.root.json"):
            roots.append(self.root(len(roots) + 1))
        metadata = {f"{version}.root.json": data for version, data in enumerate(roots[1:], 2)}
        metadata["timestamp.json"] = self.metadata("timestamp.json")
        # Names are taken from files that nothing has vouched for yet; verification then judges all of them together.
        snapshot = self.read("timestamp.json", Timestamp).snapshot_meta.version
        metadata["snapshot.json"] = self.metadata(f"{snapshot}.snapshot.json")
        versions = self.read(f"{snapshot}.snapshot.json", Snapshot).meta
        files = {}
        for role, path in (("targets", POLICY), ("checkpoints", CHECKPOINT)):
            name = f"{versions[f'{role}.json'].version}.{role}.json"
            metadata[f"{role}.json"] = self.metadata(name)
            listed = self.read(name, Targets).targets
            for target in (path, *(found for found in listed if trusted_root_name(found))):
                files[target] = self._bytes(target_name(target, listed[target].hashes["sha256"]))
        return roots, metadata, files

    def metadata(self, name: str) -> bytes:
        """The bytes of one file of metadata.

        Raises:
            UsageError: ``io.failed``.
        """
        return self._bytes(f"metadata/{name}")

    def read(self, name: str, kind: type[SignedT]) -> SignedT:
        """What one file of metadata says; nothing has vouched for it yet.

        Raises:
            UsageError: ``io.failed``.
            RepositoryError, KeyError, TypeError, ValueError: it is damaged, or of another kind.
        """
        metadata: Metadata[SignedT] = Metadata.from_bytes(self.metadata(name))
        if not isinstance(metadata.signed, kind):
            raise TypeError(f"{name} is metadata of another kind")
        return metadata.signed

    def vouched(self, name: str, data: bytes) -> bool | None:
        """Whether bytes are the file of metadata of that name: a root by its own signatures, anything else by the
        digest in timestamp or snapshot. None when these name another version, or cannot be read themselves.
        """
        version, role, _ = name.split(".")
        try:
            if role == "root":
                return _is_root(data, int(version))
            named = self.read("timestamp.json", Timestamp).snapshot_meta
            if role != "snapshot":
                named = self.read(f"{named.version}.snapshot.json", Snapshot).meta[f"{role}.json"]
        except (LoadlockError, RepositoryError, KeyError, ValueError, TypeError):
            return None
        if named.version != int(version) or not named.hashes:
            return None
        return named.hashes.get("sha256") == hashlib.sha256(data).hexdigest()

    def put(self, name: str, data: bytes) -> None:
        """Write one file, by its path below the repository's directory.

        Raises:
            Unreachable: ``io.failed``.
        """
        write_atomic(self.directory / name, data)

    def _has(self, name: str) -> bool:
        return (self.directory / name).is_file()

    def _bytes(self, name: str) -> bytes:
        path = self.directory / name
        self._read_so_far |= stamps([path])
        return read_capped(path, MAX_FILE, "trust file")


def _is_root(data: bytes, version: int) -> bool:
    try:
        found: Metadata[Root] = Metadata.from_bytes(data)
        root: object = found.signed
        if not isinstance(root, Root) or root.version != version:
            return False
        root.verify_delegate("root", found.signed_bytes, found.signatures)
    except (RepositoryError, KeyError, ValueError, TypeError):
        return False
    return True


def target_name(path: str, sha256: str) -> str:
    """Where the target of that path and digest lies below the repository's directory."""
    folder, slash, name = path.rpartition("/")
    return f"targets/{folder}{slash}{sha256}.{name}"
