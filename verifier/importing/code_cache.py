"""Compiled code of verified modules, kept between processes; it is authenticated before ``marshal`` reads it.

``marshal`` must never see foreign bytes. So code is kept in a :class:`~verifier.private_cache.PrivateCache`, on one
:class:`~verifier.shelves.Shelf` for each wheel and interpreter (bytecode version, optimisation, cache tag), and there
under the source's digest and the file name. Each module's code is authenticated when it is used. What is missing or not
authentic is compiled from its verified source, and kept in its place.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Final

from verifier.private_cache import PrivateCache
from verifier.shelves import Shelf

if TYPE_CHECKING:
    from verifier.importing.prepared import Prepared

MAX_CODE: Final = 16 << 20
"""Bytes of a module's code; larger code is compiled each time."""

MAX_SHELVES: Final = 8
"""How many wheels' code is held in memory: that of the wheels that are being imported."""

_KIND: Final = "code"


class CodeCache:
    """Compiled code in a private cache, that of a wheel together. Safe between threads, processes and forks; never
    raises when it fails.

    Args:
        cache: where it is kept.
        libraries: a directory with prepared libraries, if there is one.

    Attributes:
        kept: the cache, where what is found out of libraries is kept too.
        prepared: the libraries that need not be copied.
    """

    def __init__(self, cache: PrivateCache, libraries: Path | str | None = None) -> None:
        self.kept = cache
        self.prepared: Prepared | None = None
        if libraries is not None:
            from verifier.importing.prepared import Prepared  # few hosts have them

            self.prepared = Prepared(libraries, cache)
        self._shelf = lru_cache(MAX_SHELVES)(self._open)

    def load(self, source_digest: bytes, file_name: str) -> CodeType | None:
        """The code that was stored for exactly this source and interpreter; None if there is none that is authentic.

        Args:
            source_digest: sha256 of the module's verified source.
            file_name: what its code objects say of where they are from; up to the first slash it names the wheel.
        """
        value = self._shelf(*_shelf(file_name)).load(*_parts(source_digest, file_name))
        if value is None:
            return None
        try:
            loaded = marshal.loads(value)  # noqa: S302 - authenticated by the line above
        except (EOFError, TypeError, ValueError):
            return None  # authentic, but of an interpreter that differs in more than its version says
        return loaded if isinstance(loaded, CodeType) else None

    def store(self, source_digest: bytes, file_name: str, code: CodeType) -> None:
        """Keep the code of a source, in place of what may be there for it.

        Args:
            source_digest: sha256 of the module's verified source.
            file_name: as for :meth:`load`.
            code: what the source was compiled to.
        """
        value = marshal.dumps(code)
        if len(value) <= MAX_CODE:
            self._shelf(*_shelf(file_name)).store(value, *_parts(source_digest, file_name))

    def _open(self, *shelf: bytes) -> Shelf:
        return Shelf(self.kept, _KIND, *shelf)


def _shelf(file_name: str) -> tuple[bytes, ...]:
    """What all code of a wheel depends on: the wheel and the interpreter."""
    return (
        _encoded(file_name.partition("/")[0]),
        importlib.util.MAGIC_NUMBER,
        str(sys.flags.optimize).encode(),
        (sys.implementation.cache_tag or "").encode(),
    )


def _parts(source_digest: bytes, file_name: str) -> tuple[bytes, ...]:
    return source_digest, _encoded(file_name)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
