"""What a wheel's METADATA declares of its licence, in whichever of the three ways that there are.

Sources: core metadata 2.4 (License-Expression), and what it replaced: License, and the classifiers "License :: …".
"""

from __future__ import annotations

from typing import Final

from packaging.metadata import RawMetadata, parse_email

from verifier.wheels.wheel import Snapshot

MAX_LICENCE: Final = 100
"""Characters of a License field that names a licence; longer ones are its text."""
_CLASSIFIER: Final = "License :: "
_NO_LICENCE: Final = "OSI Approved"


def declared_licences(wheel: Snapshot) -> tuple[str, ...]:
    """The declared licences: one SPDX expression, or else names as the wheel's maker wrote them; none if it says none.

    Args:
        wheel: a wheel that was read strictly.
    """
    return declared_in(parse_email(wheel.files[f"{wheel.dist_info}/METADATA"])[0])


def declared_in(raw: RawMetadata) -> tuple[str, ...]:
    """The same, out of metadata that was read."""
    if expression := raw.get("license_expression", ""):
        return (expression,)
    named = raw.get("license", "").strip()
    if named.isprintable() and 0 < len(named) <= MAX_LICENCE:
        return (named,)
    classified = {
        text.rpartition(" :: ")[2].strip() for text in raw.get("classifiers", []) if text.startswith(_CLASSIFIER)
    }
    return tuple(sorted(name for name in classified - {_NO_LICENCE} if name.isprintable() and name))
