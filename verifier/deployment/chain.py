"""What verifying a TUF repository leads to, and how that is known again without verifying it.

Whether a chain of roots, metadata and files verifies, and whether the policy at its end names keys that are keys,
follows from these bytes, from the pinned root and from the code: neither from the time nor from what the host has seen,
which is judged afterwards in any case. So what it led to is kept in a private cache under the sha256 of each of them,
and a start that finds it there need not import python-tuf, which takes longer than all else about opening a gate. Only
what was accepted is kept.

``docs/adr/0008-code-cache.md`` says what makes a cache safe to use, ``0029`` why verdicts on signatures may be kept.
"""

from __future__ import annotations

import hashlib
import marshal
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from verifier.private_cache import PrivateCache
from verifier.this_code import this_code
from verifier.value import Value

POLICY: Final = "policy.json"
CHECKPOINT: Final = "checkpoints/checkpoint.json"
TRUSTED_ROOT: Final = "trusted_root.{}.json"
"""The path of a Sigstore trusted root, around its name."""

_KIND: Final = "chain"
_TRUSTED_ROOT_PATH: Final = re.compile(r"trusted_root\.(.{1,64})\.json", re.DOTALL)


class RoleFacts(Value, frozen=True):
    """What a verified role says of itself."""

    version: int
    expires: datetime


class Chain(Value, frozen=True):
    """A verified chain: the facts of each role, and the bytes of the files at its end; trusted roots by their name."""

    roles: Mapping[str, RoleFacts]
    policy: bytes
    checkpoint: bytes
    trusted_roots: Mapping[str, bytes]

    @classmethod
    def of(cls, roles: Mapping[str, RoleFacts], files: Mapping[str, bytes]) -> Chain:
        """The chain of these roles, by which exactly these files were verified."""
        trusted = {name: data for path, data in files.items() if (name := trusted_root_name(path)) is not None}
        return cls(roles, files[POLICY], files[CHECKPOINT], trusted)


def trusted_root_name(path: str) -> str | None:
    """The name in a path such as ``trusted_root.public.json``; None when it is the path of something else."""
    match = _TRUSTED_ROOT_PATH.fullmatch(path)
    return match[1] if match else None


class KnownChain:
    """One repository, as a private cache may know it.

    Args:
        cache: where it is kept.
        pinned_root: as for :func:`verifier.deployment.tuf_chain.verify_chain`.
        metadata: likewise.
        files: likewise.
    """

    def __init__(
        self, cache: PrivateCache, pinned_root: bytes, metadata: Mapping[str, bytes], files: Mapping[str, bytes]
    ) -> None:
        self._cache, self._files = cache, files
        documents = {"": pinned_root, **{f"m {name}": data for name, data in metadata.items()}}
        documents |= {f"f {path}": data for path, data in files.items()}
        self._parts = [this_code("tuf", "securesystemslib")]
        for name, data in sorted(documents.items()):
            self._parts += [name.encode("utf-8", "surrogatepass"), hashlib.sha256(data).digest()]

    def recall(self) -> Chain | None:
        """What verifying exactly this led to before; None if it was not verified, or refused."""
        value = self._cache.load(_KIND, *self._parts)
        if value is None:
            return None
        roles: list[tuple[str, int, str]] = marshal.loads(value)  # noqa: S302 - authenticated by the line above
        return Chain.of({name: RoleFacts(of, datetime.fromisoformat(end)) for name, of, end in roles}, self._files)

    def remember(self, chain: Chain) -> None:
        """Keep what verifying this led to."""
        roles = [(name, facts.version, facts.expires.isoformat()) for name, facts in chain.roles.items()]
        self._cache.store(marshal.dumps(roles), _KIND, *self._parts)
