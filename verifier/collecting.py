"""While a gate opens, and while plugins are loaded and imported, the collector of cycles looks more seldom: nearly all
that is made is to stay.

Every few hundred new containers the collector looks at the newest ones, and again and again at all there are. While
many plugins are imported that takes a third of the time, and finds nothing. So it waits for more of them for so long,
and what was made meanwhile counts as old afterwards: it is looked at when all is. Whoever has chosen a setting of their
own, before or meanwhile, keeps it; whoever has frozen something, that too.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MANY: Final = 100_000
"""New containers after which the collector looks all the same, so that code that runs for long is not left alone."""
OF_ITSELF: Final = 1000
"""So many objects an interpreter may have frozen without being asked: 3.12 has 375, which never die, and which its
collector puts back there when it looks at all. A host that freezes anything freezes several thousand.
"""


@contextmanager
def seldom() -> Iterator[None]:
    """Let the collector look seldom for as long as this is entered. Of several threads that are inside, the first one
    that leaves ends it for all, which costs them time and nothing else.
    """
    before, *older = gc.get_threshold()
    is_ours = 0 < before < MANY  # nought: the collector is off
    if is_ours:
        gc.set_threshold(MANY, *older)
    try:
        yield
    finally:
        if is_ours and gc.get_threshold() == (MANY, *older):
            _make_old()
            gc.set_threshold(before, *older)


def _make_old() -> None:
    """Let all there is count as old, which costs nothing: to freeze joins the lists that the collector keeps of new and
    old, and to thaw gives back one of old ones. Where anything else is frozen, which thawing would undo, nothing is
    done then or ever after: to ask takes long there.
    """
    global _IS_ALLOWED  # noqa: PLW0603 - one for the process, like the collector
    if _IS_ALLOWED and gc.get_freeze_count() > OF_ITSELF:
        _IS_ALLOWED = False
    if _IS_ALLOWED:
        gc.freeze()
        gc.unfreeze()


_IS_ALLOWED = True
