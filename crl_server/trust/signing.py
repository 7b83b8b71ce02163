"""The service's keys: how python-tuf signs with them, and the demand that offline ones are elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from verifier.errors import Refused
from verifier.formats.policy import Profile
from verifier.signatures.key_secrets import PASSPHRASE, asked
from verifier.signatures.private_keys import PrivateKey

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

DIRECTORY_MODE = 0o700


class SigningKey(PrivateKey):
    """A private key of the service; its file lies in a directory that is its owner's alone."""

    @classmethod
    def read_offline(cls, path: Path) -> Self:
        """Read a key that a person keeps, encrypted or not: its passphrase is taken from ``LOADLOCK_KEY_PASSPHRASE``,
        from the file that ``LOADLOCK_KEY_PASSPHRASE_FILE`` names, or from whoever sits at the terminal.

        Raises:
            UsageError: ``usage.key`` as :meth:`PrivateKey.read`.
        """
        return cls.read(path, None, lambda: asked(PASSPHRASE, f"the passphrase of the key {path.name!r}"))

    def write(self, path: Path, passphrase: str | None = None) -> None:
        """Write the key to a new file; raises as :meth:`PrivateKey.write`."""
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        path.parent.chmod(DIRECTORY_MODE)
        super().write(path, passphrase)

    @property
    def tuf(self) -> CryptoSigner:
        """The key as python-tuf signs with it."""
        from securesystemslib.signer import CryptoSigner

        return CryptoSigner(self._private)


def check_offline_keys_are_away(directory: Path, profile: Profile) -> None:
    """Demand that this process cannot read a file in the directory of offline keys; the demo profile is excepted.

    Args:
        directory: the deployment's ``offline`` directory; it need not exist.
        profile: the signed policy's profile.

    Raises:
        Refused: ``server.offline-key``.
    """
    if profile == "demo":
        return
    for folder, _, names in os.walk(directory):
        for name in names:
            if _readable(Path(folder, name)):
                raise Refused(
                    "server.offline-key",
                    "the server can read a key that belongs offline",
                    found=str(Path(directory.name, Path(folder, name).relative_to(directory))),
                    expected="no readable file there in the production profile",
                )


def _readable(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True
