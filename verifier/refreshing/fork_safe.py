"""The refresher, with all imported that it will need.

A fork in the middle of an import by the watcher's thread would leave that module locked for ever in the child, and the
child without its watch. So whoever is going to watch imports this first, in a thread that does not fork meanwhile.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - asked for when a name is looked up

from packaging import requirements, specifiers  # noqa: F401 - asked for when a rule denies a range

import verifier.deployment.tuf_client
import verifier.signatures.keys  # noqa: F401 - asked for when a head is new
from verifier.refreshing.refresh import Refresher

__all__ = ["Refresher"]
