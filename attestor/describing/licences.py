"""Which licences a plugin and what it brings along are under, and which of them were agreed to.

Expressions are SPDX's (annex "SPDX license expressions"): of an OR one side will do, of an AND both have to. A licence
with an exception is agreed to only where both are named together, as in ``GPL-2.0-only WITH Classpath-exception-2.0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from attestor.checking.review import Review
from attestor.describing.vendored import components_inside
from verifier.errors import UsageError
from verifier.formats.manifest import SignedManifest
from verifier.formats.sbom import MAX_SBOM
from verifier.formats.statement import SBOM
from verifier.formats.strict_json import loads, quoted

#: What is agreed to where nothing else is said: licences that ask for little beside naming the authors.
ALLOWED = (
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    "Python-2.0", "Unlicense", "Zlib",
)  # fmt: skip

#: A licence that is not SPDX's; it is agreed to only where it stands alone.
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,100}")


@dataclass(frozen=True)
class Licences:
    """What each part says of its licence (empty: nothing), and which licences were agreed to."""

    stated: Sequence[tuple[str, str]]
    allowed: Sequence[str]

    def objections(self) -> list[str]:
        """The parts whose licence is not among those that were agreed to, each with the reason."""
        return [f"{name}: {why}" for name, expression in self.stated if (why := self._why_not(expression))]

    def _why_not(self, expression: str) -> str:
        if not expression:
            return "it states no licence expression"
        if expression in self.allowed:
            return ""
        parsed = _parsed(expression)
        if parsed is None:
            return f"{quoted(expression)!r} is no SPDX expression"
        return "" if self._agrees(parsed) else f"{quoted(expression)!r} was not agreed to"

    def _agrees(self, part: Any) -> bool:
        from license_expression import AND, OR  # type: ignore[import-untyped]

        if isinstance(part, OR):
            return any(map(self._agrees, part.args))
        if isinstance(part, AND):
            return all(map(self._agrees, part.args))
        return part.render("{symbol.key}") in self.allowed


def licences_of(found: Review, manifest: SignedManifest, allowed: Sequence[str]) -> Licences:
    """What the wheel says of its own licence, and its SBOM of those of the locked dependencies and of what it carries.

    Raises:
        FormatError: the SBOM is malformed.
    """
    predicate = found.require(SBOM).statement.predicate
    sbom = loads(predicate, limit=MAX_SBOM, what="SBOM")
    by_name = {entry.get("name"): _expression(entry) for entry in sbom.get("components", [])}
    own = (found.snapshot.name, found.snapshot.metadata.license_expression)
    inside = [(f"{entry['name']} (inside the wheel)", _expression(entry)) for entry in components_inside(predicate)]
    locked = [(entry.name, by_name.get(entry.name, "")) for entry in manifest.dependencies]
    return Licences([own, *inside, *locked], allowed)


def check_allowed(names: Iterable[str]) -> tuple[str, ...]:
    """The licences that are agreed to; what SPDX does not know is a slip of the pen.

    Raises:
        UsageError: ``usage.arguments``, ``usage.extra``.
    """
    given = tuple(names)
    for name in given:
        parsed = _parsed(name)
        if not _OWN.fullmatch(name) and (parsed is None or parsed.args):
            raise UsageError("usage.arguments", "no licence of SPDX", found=repr(name), expected="such as MIT")
    return given


def _parsed(expression: str) -> Any:
    """The expression's tree; None for what is none."""
    try:
        from license_expression import ExpressionError, get_spdx_licensing
    except ImportError as error:
        raise UsageError(
            "usage.extra", "licences need license-expression", expected="the extra loadlock[attestor]"
        ) from error
    try:
        return get_spdx_licensing().parse(expression, validate=True, strict=True)
    except ExpressionError:
        return None


def _expression(component: dict[str, Any]) -> str:
    """A component's licences in CycloneDX's terms: one expression, or several licences that all hold."""
    stated = [
        str(entry.get("expression") or (entry.get("license") or {}).get("id") or "")
        for entry in component.get("licenses", [])
    ]
    return " AND ".join(f"({entry})" for entry in stated) if all(stated) else ""
