"""Whether a wheel is for this interpreter and platform; asking that takes longer than loading a small wheel.

Which tags an interpreter takes follows from itself, the machine and the system's C library. So an answer is kept under
these. It decides on no more than which words a wheel for another system is refused with: what the system's loader does
not take, it does not load.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final

import packaging

from verifier.private_cache import PrivateCache

PURE: Final = "py3-none-any"
_KIND: Final = "fits"


def fits(tags: Iterable[str], cache: PrivateCache | None = None) -> bool:
    """Whether one of a wheel's tags is among those that this interpreter takes.

    Args:
        tags: the wheel's, such as "cp311-cp311-manylinux_2_28_x86_64".
        cache: where the answer is kept.
    """
    wanted = frozenset(tags)
    if PURE in wanted:
        return True
    import platform  # and packaging's tags below: hosts of pure plugins need neither

    texts = (*sorted(wanted), sys.version, sys.executable, packaging.__version__, platform.machine(), _c_library())
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    if cache is not None and cache.load(_KIND, *parts) is not None:
        return True
    from packaging.tags import sys_tags

    found = any(str(tag) in wanted for tag in sys_tags())
    if cache is not None and found:
        cache.store(b"", _KIND, *parts)
    return found


def _c_library() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return ""
