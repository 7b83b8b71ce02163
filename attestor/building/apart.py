"""How other people's code is started: with processes of its own alone, and without network where it needs none.

A process of the same user reads the environment that another was started with, and its memory, below ``/proc``; and it
may leave something running that goes on when it has ended. In a process namespace of its own (pid_namespaces(7)) it
sees neither us nor whoever started us, and what it leaves ends with it. Where the system allows none, it is said so.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Literal, NamedTuple

from attestor.building import processes

Network = Literal["none", "not-cut"]
Processes = Literal["own", "shared"]

# The first process of a namespace is spared signals and inherits orphans: a shell is, that what is started may not be.
# Shells add variables of their own, of which the command is to know nothing.
_FIRST = ("--", "sh", "-c", 'env -u PWD -u OLDPWD -u SHLVL -u _ "$@"; exit $?', "sh")
_OWN = ("--pid", "--fork", "--kill-child", "--mount-proc")


class Apart(NamedTuple):
    """A way to start a command.

    Attributes:
        words: what stands before the command; empty for nothing.
        network: ``none`` when it has no network, ``not-cut`` when it has the system's.
        processes: ``own`` when it sees those alone that it starts itself, ``shared`` when it sees the system's.
    """

    words: tuple[str, ...] = ()
    network: Network = "not-cut"
    processes: Processes = "shared"


#: Ways without network, the best first: as root, and as anybody else (a user namespace).
_WITHOUT_NETWORK = (
    Apart(("unshare", "--net", *_OWN, *_FIRST), "none", "own"),
    Apart(("unshare", "--map-root-user", "--net", *_OWN, *_FIRST), "none", "own"),
    Apart(("unshare", "--net", "--"), "none"),
    Apart(("unshare", "--map-root-user", "--net", "--"), "none"),
)
#: Ways with the system's network.
_WITH_NETWORK = (
    Apart(("unshare", *_OWN, *_FIRST), processes="own"),
    Apart(("unshare", "--map-current-user", *_OWN, *_FIRST), processes="own"),
)


@functools.cache
def without_network() -> Apart:
    """The best way to start a command without network that this system allows; one that has it, where none does."""
    return _first(_WITHOUT_NETWORK)


@functools.cache
def with_network() -> Apart:
    """The best way that this system allows to start a command that may use the network."""
    return _first(_WITH_NETWORK)


def _first(ways: tuple[Apart, ...]) -> Apart:
    for way in ways:
        try:
            done = processes.run(
                [*way.words, "true"], cwd=Path("/"), environ={"PATH": os.defpath}, seconds=10, merge=True
            )
        except OSError:
            continue  # no such program here: the next way, or none, which is recorded
        if done.status == 0:
            return way
    return Apart()
