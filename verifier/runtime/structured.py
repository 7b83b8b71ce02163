"""structlog's events say which plugin wrote them, in which run.

    structlog.configure(processors=[..., stamp_event, structlog.processors.JSONRenderer()])

It has to stand last before the renderer: what a plugin has bound or passed under these names is overwritten.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from verifier.runtime.attribution import attribute
from verifier.runtime.stamps import FIELDS


def stamp_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor for structlog: ``plugin_id``, ``artifact_digest`` and ``run_id``, empty where no plugin is at work.

    Args:
        logger: structlog's; not used.
        method: structlog's; not used.
        event: what is about to be rendered.
    """
    found = attribute()
    if found is None:
        for name in FIELDS:
            event.setdefault(name, "")  # a host may use these names for itself
    else:
        event.update(found._asdict())
    return event
