"""msgspec's tables of types, made by one thread at a time.

For a type that it meets for the first time msgspec makes a table, and runs Python code on the way. Another thread that
comes by then takes the table half made, and the process dies (msgspec 0.22, Python 3.11). So whoever reads into a type
has it prepared first; a test holds that nobody does so by another way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec

_PREPARED: set[Any] = set()
_LOCK: Final = threading.RLock()


def prepare(type_: Any) -> None:
    """Return once msgspec's table of a type is whole; of all those that it is made of, too."""
    if type_ not in _PREPARED:
        with _LOCK:
            msgspec.json.Decoder(type_)
            _PREPARED.add(type_)


@cache
def reader(type_: Any, of_ours: Callable[[type, Any], Any] | None = None) -> msgspec.json.Decoder[Any]:
    """What reads JSON into a type, for all threads. It asks no rule of :mod:`verifier.formats.strict_json`.

    Args:
        type_: the type.
        of_ours: makes the values of those types in it that msgspec does not know; None where there are none.
    """
    prepare(type_)
    return msgspec.json.Decoder(type_, dec_hook=of_ours)


if hasattr(os, "register_at_fork"):  # no child begins with a table half made, nor with a lock that nobody gives back
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)
