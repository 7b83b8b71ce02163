"""Whether files that never change are still what was published: held against their names, or against the files that
name them, when they are first asked for, and again when anything about the file is another.

A disk may damage a file. Hosts refuse it; a cache on the way would keep it for a year. So whatever is found damaged is
not given out. What cannot be noticed: bytes that rot while the file's number, size and times stay as they are, until
the next start. And metadata of a version that neither timestamp nor snapshot names is served as it is: nobody asks for
it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
from collections import OrderedDict
from typing import Final

from crl_server.layout import Layout
from crl_server.lists.public_files import damaged, named_digest
from crl_server.lists.stamps import Stamp, stamp_of
from crl_server.trust.trust_files import MAX_FILE, TrustFiles
from verifier.errors import Unreachable

MAX_KNOWN: Final = 16_384
"""How many files are remembered; the one that was looked at the longest ago is forgotten first."""
METADATA: Final = "trust/metadata/"

log = logging.getLogger("crl_server")


class Wholeness:
    """What one process knows of the immutable files of its public tree. Safe from any thread.

    Args:
        layout: the deployment's directory.
    """

    def __init__(self, layout: Layout) -> None:
        self._root = layout.public
        self._trust = layout.trust
        self._known: OrderedDict[str, tuple[Stamp, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def vouches(self, name: str, stamp: Stamp) -> bool:
        """Whether the file of that name and stamp was found whole; it costs no look at the disk."""
        return self._known.get(name) == (stamp, True)

    def check(self, name: str) -> None:
        """Demand that an immutable file is what was published. One that is not is logged, once while it stays as it is.

        Args:
            name: below the tree's root.

        Raises:
            Refused: ``server.damaged``.
            Unreachable: ``io.failed`` when it cannot be read.
        """
        try:
            with open(self._root / name, "rb", opener=_opened) as file:
                stamp = stamp_of(os.fstat(file.fileno()))
                known = self._known.get(name)
                whole = known[1] if known is not None and known[0] == stamp else self._look(name, file, stamp)
        except OSError as error:
            found = error.strerror or str(error)
            raise Unreachable("io.failed", "a public file cannot be read", found=found) from error
        if not whole:
            raise damaged(name)

    def _look(self, name: str, file: io.BufferedReader, stamp: Stamp) -> bool:
        expected = named_digest(name)
        if expected is not None:
            whole: bool | None = hashlib.file_digest(file, "sha256").hexdigest() == expected
        else:
            whole = TrustFiles(self._trust).vouched(name.removeprefix(METADATA), file.read(MAX_FILE + 1))
        if whole is None or stamp_of(os.fstat(file.fileno())) != stamp:
            return whole is not False  # nothing to remember: it may be named later, or is being written to
        with self._lock:
            self._known[name] = stamp, whole
            self._known.move_to_end(name)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        if not whole:
            log.error("the public file %s is damaged, and is not given out", name)
        return whole


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
