"""Records what plugins reach for, by Python's audit events: one hook for the process, which stops and alters nothing.

For every event of which nothing is recorded, the hook looks up its name in a set. The others it attributes
(:mod:`verifier.runtime.attribution`) and writes into the log of the run they belong to. What fails on the way is
counted and reaches nobody's code. ``docs/spec/observation.md`` says what is recorded, and what cannot be seen.

A hook can never be taken out of a process again, only be told to do nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import FrameType
from typing import Any, Final

from verifier.clock import Clock, utc_now
from verifier.runtime import threads
from verifier.runtime.attribution import trace
from verifier.runtime.events import READERS
from verifier.runtime.observed import FAILURES, MAX_RECORDS, Log, Observed, Whose

logger = logging.getLogger(__name__)

_PROBE: Final = "loadlock.observation"
_WATCHED: Final = frozenset({*READERS, _PROBE})
_UNLISTED: Final = Log(utc_now, 0)


class _State:
    """What the hook goes by; one for the process, as the hook is."""

    hooked = False
    active = False
    carried = False
    outside: Log = _UNLISTED
    busy = threading.local()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _WATCHED:
        _see(event, args)


def _see(event: str, args: tuple[Any, ...]) -> None:
    if event == _PROBE:
        _State.hooked = _State.hooked or args == (_PROBE,)
        return
    if not _State.active:
        return
    if getattr(_State.busy, "now", False):  # what is reached for while something is being recorded: by the host's clock
        FAILURES.add()
        return
    _State.busy.now = True
    try:
        _record(event, args, sys._getframe(2))
    except Exception:  # whose code it would reach is the plugin's; the number is shown with every view
        FAILURES.add()
    finally:
        _State.busy.now = False


def _record(event: str, args: tuple[Any, ...], frame: FrameType) -> None:
    what = READERS[event](args)
    if what is None or (what.kind == "library" and _is_our_loader(frame)):
        return
    found = trace(frame)
    who = ("", "", "") if found.who is None else found.who
    log = _State.outside if found.run is None else found.run.log
    if log is not None:  # the run's gate observes
        log.add(what, Whose(*who, found.how, found.ambiguous))


def _is_our_loader(frame: FrameType | None) -> bool:
    """Whether a library is opened by Loadlock's loader, for a plugin that imports a module of its verified wheel."""
    loader = sys.modules.get("verifier.importing.libraries")  # not imported here: most plugins are of Python alone
    for _ in range(3):
        if frame is not None and loader is not None:
            if frame.f_globals is loader.__dict__:
                return True
            frame = frame.f_back
    return False


def install(clock: Clock) -> bool:
    """Observe from now on. Installing twice is installing once; what belongs to no run goes by the first clock.

    Args:
        clock: tells the time of what belongs to no run.

    Returns:
        Whether anything is observed: another audit hook of the process may have refused this one.
    """
    if _State.outside is _UNLISTED:
        _State.outside = Log(clock)
    if not _State.hooked:
        try:
            sys.addaudithook(_hook)
            sys.audit(_PROBE, _PROBE)
        except Exception:
            logger.exception("another audit hook of this process refuses that plugins are observed")
    if not _State.hooked:  # Python says nothing when a hook is refused by a RuntimeError
        logger.warning("plugins are not observed: another audit hook of this process does not let it happen")
        return False
    _State.active = True
    return True


def log_of_run(clock: Clock, cap: int = MAX_RECORDS) -> Log:
    """What a new run is recorded in. From the first one on, threads and pools remember the runs that they work for.

    Args:
        clock: tells the time of its records.
        cap: how many different ones it holds.
    """
    if _State.active and not _State.carried:
        threads.install()
        _State.carried = True
    return Log(clock, cap)


def uninstall() -> None:
    """Record nothing more, forget what belonged to no run, and leave ``threading`` as it was found."""
    _State.active = _State.carried = False
    _State.outside = _UNLISTED
    threads.uninstall()


def outside() -> Observed:
    """What plugins did in none of their runs, and what nobody can be named for: the host's work, or a lost trail."""
    return _State.outside.view()
