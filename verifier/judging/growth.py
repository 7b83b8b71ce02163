"""How one release's covenant differs from another's: each field compared on its own terms, the riskiest change first.

A change *grows* when the plugin may do more than it might before, or when nobody can tell that it may not. Every field
of a signed manifest is either compared or belongs to a release itself; a test holds that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from packaging.requirements import Requirement

from verifier.formats.manifest import (
    CLASSIFICATIONS,
    ISOLATIONS,
    Egress,
    HostPattern,
    Limits,
    RequirementText,
    SignedManifest,
    Source,
)
from verifier.formats.strict_json import dumps
from verifier.value import Value

Risk = Literal["high", "medium", "low"]
RISKS: tuple[Risk, ...] = ("high", "medium", "low")
"""From the riskiest on."""
What = Literal["new", "wider", "gone", "narrower", "changed"]
SHOWN = 200
"""How many characters of a value are shown."""
POWERFUL = frozenset({"network", "file-read", "file-write", "environment", "subprocess", "native-code"})
"""Capabilities that reach outside the plugin."""
MATURITIES = ("deprecated", "alpha", "beta", "stable")


class Change(Value, frozen=True):
    """One difference.

    Attributes:
        risk: how much it matters.
        field: the manifest's field, ``evidence`` or ``certification``.
        what: in which direction it went.
        before, after: the values, as a person reads them; empty for what is not there.
        grows: whether more is allowed now, or may be.
    """

    risk: Risk
    field: str
    what: What
    before: str
    after: str
    grows: bool

    @property
    def document(self) -> dict[str, Any]:
        """The change as plain values, for JSON."""
        return {name: getattr(self, name) for name in ("risk", "field", "what", "before", "after", "grows")}

    def __str__(self) -> str:
        values = " → ".join(part for part in (self.before, self.after) if part)
        return f"{self.risk:<8}{self.field:<22}{self.what:<10}{values}"


Changes = Iterator[Change]
Comparison = Callable[[Any, Any], Changes]


def compare(old: SignedManifest, new: SignedManifest) -> list[Change]:
    """What ``new`` declares otherwise than ``old``, the riskiest first."""
    found = (
        change for name, comparison in COMPARED.items() for change in comparison(getattr(old, name), getattr(new, name))
    )
    return by_risk(found)


def compare_evidence(old: Collection[str], new: Collection[str]) -> Changes:
    """Which kinds of statements (by their titles) there were and are: one that is gone proves nothing any more."""
    for title in sorted({*old} - {*new}):
        yield Change("high", "evidence", "gone", title, "", grows=True)
    for title in sorted({*new} - {*old}):
        yield Change("low", "evidence", "new", "", title, grows=False)


def compare_terms(
    old: tuple[str, Collection[str]], new: tuple[str, Collection[str]], tiers: tuple[str, ...]
) -> Changes:
    """Tier and conditions of two certifications; ``tiers`` from least to most trusted."""
    if old[0] != new[0]:
        higher = old[0] not in tiers or tiers.index(new[0]) > tiers.index(old[0])
        risk: Risk = "high" if higher else "low"
        yield Change(risk, "certification", "wider" if higher else "narrower", old[0], new[0], grows=higher)
    for condition in sorted({*old[1]} - {*new[1]}):
        yield Change("medium", "certification", "gone", f"condition: {condition}", "", grows=True)
    for condition in sorted({*new[1]} - {*old[1]}):
        yield Change("low", "certification", "new", "", f"condition: {condition}", grows=False)


def by_risk(changes: Iterator[Change]) -> list[Change]:
    """The riskiest first, and of these what grows first."""
    return sorted(changes, key=lambda change: (RISKS.index(change.risk), not change.grows, change.field))


# -- how a field is compared -------------------------------------------------------------------------------------------


def _set(name: str, risk: Risk, old: Collection[str], new: Collection[str], *, more: bool = True) -> Changes:
    """A list whose order means nothing. ``more``: a new line allows more; else it promises more."""
    for line in sorted({*new} - {*old}):
        yield Change(risk if more else "low", name, "new", "", line, grows=more)
    for line in sorted({*old} - {*new}):
        yield Change("low" if more else risk, name, "gone", line, "", grows=not more)


def _scalar(name: str, risk: Risk, old: object, new: object, *, grows: bool = True) -> Changes:
    """A value of which nobody can say which one allows more."""
    if old != new:
        yield Change(risk, name, "changed", _shown(old), _shown(new), grows=grows)


def _ranked(name: str, risk: Risk, order: tuple[str, ...], old: str, new: str, *, grows: bool = True) -> Changes:
    """A word of an ordered vocabulary, in which later words allow more."""
    if order.index(new) > order.index(old):
        yield Change(risk, name, "wider", old, new, grows=grows)
    elif new != old:
        yield Change("low", name, "narrower", old, new, grows=False)


def _version(old: Any, new: Any) -> Changes:
    if new.order < old.order:
        yield Change("high", "version", "changed", old, f"{new}, which is older", grows=True)
    elif new != old:
        yield Change("low", "version", "changed", old, new, grows=False)


def _maturity(old: str, new: str) -> Changes:
    falls = MATURITIES.index(new) < MATURITIES.index(old)
    yield from _scalar("maturity", "medium" if falls else "low", old, new, grows=False)


def _expires(old: str | None, new: str | None) -> Changes:
    if old is not None and new is None:
        yield Change("medium", "expires_at", "wider", old, "never", grows=True)
    else:
        yield from _scalar("expires_at", "low", old or "never", new or "never", grows=False)


def _retention(old: Any, new: Any) -> Changes:
    """How long data is kept; not declared is not at all."""
    before, after = (0.0 if value is None else value.span.total_seconds() for value in (old, new))
    if before != after:
        longer = after > before
        risk: Risk = "high" if longer else "low"
        what: What = "wider" if longer else "narrower"
        yield Change(risk, "retention", what, _shown(old), _shown(new), grows=longer)


def _hermetic(old: bool, new: bool) -> Changes:
    if old and not new:
        yield Change("medium", "hermetic_compatible", "wider", "works without a network", "needs one", grows=True)
    elif new and not old:
        yield Change("low", "hermetic_compatible", "narrower", "needs a network", "works without one", grows=False)


def _capabilities(old: Any, new: Any) -> Changes:
    before, after = ({entry.name: entry.rationale for entry in entries} for entries in (old, new))
    for name in sorted(after.keys() - before.keys()):
        risk: Risk = "high" if name in POWERFUL else "medium"
        yield Change(risk, "capabilities", "new", "", f"{name}: {after[name]}", grows=True)
    for name in sorted(before.keys() - after.keys()):
        yield Change("low", "capabilities", "gone", name, "", grows=False)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            was, now = f"{name}: {before[name]}", f"{name}: {after[name]}"
            yield Change("low", "capabilities", "changed", _shown(was), _shown(now), grows=False)


def _egress(old: tuple[Egress, ...], new: tuple[Egress, ...]) -> Changes:
    """Destinations one by one: host, scheme and port. What an old wildcard covered already is not new."""
    before, after = _destinations(old), _destinations(new)
    for host, scheme, port in sorted(after - before):
        covered = any(s == scheme and p == port and HostPattern(h).covers(host) for h, s, p in before)
        risk: Risk = "low" if covered else "high"
        yield Change(
            risk, "allowed_egress", "narrower" if covered else "new", "", f"{scheme}://{host}:{port}", not covered
        )
    for host, scheme, port in sorted(before - after):
        yield Change("low", "allowed_egress", "gone", f"{scheme}://{host}:{port}", "", grows=False)


def _destinations(entries: tuple[Egress, ...]) -> set[tuple[str, str, int]]:
    return {(entry.host, scheme, port) for entry in entries for scheme in entry.schemes for port in entry.ports}


def _requirements(
    name: str, old: tuple[RequirementText, ...], new: tuple[RequirementText, ...], *, wider: bool
) -> Changes:
    """Requirements by distribution. ``wider``: another range may admit what was not allowed."""
    before, after = _by_distribution(old), _by_distribution(new)
    for project in sorted(after.keys() - before.keys()):
        yield Change("medium", name, "new", "", ", ".join(sorted(after[project])), grows=True)
    for project in sorted(before.keys() - after.keys()):
        yield Change("low", name, "gone", ", ".join(sorted(before[project])), "", grows=False)
    for project in sorted(before.keys() & after.keys()):
        if before[project] != after[project]:
            was, now = (", ".join(sorted(lines[project])) for lines in (before, after))
            yield Change("medium" if wider else "low", name, "changed", was, now, grows=wider)


def _by_distribution(requirements: tuple[RequirementText, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for requirement in requirements:
        found.setdefault(requirement.project, set()).add(str(Requirement(requirement)))
    return found


def _dependencies(old: Any, new: Any) -> Changes:
    before, after = ({entry.name: entry for entry in entries} for entries in (old, new))
    for name in sorted(after.keys() - before.keys()):
        yield Change("medium", "dependencies", "new", "", f"{name} {after[name].version}", grows=True)
    for name in sorted(before.keys() - after.keys()):
        yield Change("low", "dependencies", "gone", f"{name} {before[name].version}", "", grows=False)
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.version != now.version:
            yield Change("low", "dependencies", "changed", f"{name} {was.version}", now.version, grows=False)
        elif was.sha256 != now.sha256:  # one release has one content, unless it has several wheels
            yield Change(
                "high", "dependencies", "changed", f"{name} {was.version}, {was.sha256}", now.sha256, grows=True
            )


def _entry_points(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> Changes:
    before, after = (
        {f"{group}:{name}": target for group, names in groups.items() for name, target in names.items()}
        for groups in (old, new)
    )
    for name in sorted(after.keys() - before.keys()):
        yield Change("medium", "entry_points", "new", "", f"{name} = {after[name]}", grows=True)
    for name in sorted(before.keys() - after.keys()):
        yield Change("low", "entry_points", "gone", name, "", grows=False)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield Change("low", "entry_points", "changed", f"{name} = {before[name]}", after[name], grows=False)


def _limits(old: Limits, new: Limits) -> Changes:
    """Figures one by one; one that is not declared bounds nothing."""
    for name in Limits.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        grows = before is not None and (after is None or after > before)
        what: What = "wider" if grows else "narrower"
        was, now = (f"{name} {'unbounded' if value is None else value}" for value in (before, after))
        yield Change("medium" if grows else "low", "limits", what, was, now, grows=grows)


def _source(old: Source, new: Source) -> Changes:
    """The repository, and whether there is a commit at all; which commit is the release's own."""
    yield from _scalar("source", "high", old.repository, new.repository)
    before, after = (
        "a commit" if source.commit else "an sdist" if source.sdist else "unknown" for source in (old, new)
    )
    yield from _scalar("source", "high", before, after, grows=before == "a commit" or after == "unknown")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text: str = value
    else:
        text = dumps(value).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


COMPARED: Mapping[str, Comparison] = {
    "plugin_id": partial(_scalar, "plugin_id", "high"),
    "version": _version,
    "description": partial(_scalar, "description", "low", grows=False),
    "owner": partial(_scalar, "owner", "high"),
    "kind": partial(_scalar, "kind", "medium"),
    "api_version": partial(_scalar, "api_version", "low", grows=False),
    "maturity": _maturity,
    "entry_points": _entry_points,
    "quality": partial(_scalar, "quality", "low", grows=False),
    "expires_at": _expires,
    "hooks": partial(_set, "hooks", "medium"),
    "config_schema": partial(_scalar, "config_schema", "low", grows=False),
    "config_defaults": partial(_scalar, "config_defaults", "low", grows=False),
    "capabilities": _capabilities,
    "allowed_egress": _egress,
    "data_classes": partial(_set, "data_classes", "high"),
    "max_classification": partial(_ranked, "max_classification", "high", CLASSIFICATIONS),
    "retention": _retention,
    "redaction": partial(_set, "redaction", "high", more=False),
    "secrets": partial(_set, "secrets", "high"),
    "sdk_allowlist": partial(_requirements, "sdk_allowlist", wider=True),
    "allowed_paths": partial(_set, "allowed_paths", "high"),
    "limits": _limits,
    "hermetic_compatible": _hermetic,
    "isolation": partial(_ranked, "isolation", "high", tuple(reversed(ISOLATIONS))),
    "host_provided": partial(_requirements, "host_provided", wider=False),
    "built_by": partial(_scalar, "built_by", "high"),
    "source": _source,
    "dependencies": _dependencies,
}
"""The manifest's fields, and how each is compared."""
OF_A_RELEASE = frozenset({"v", "artifact_digest", "record_digest", "sbom_digest", "built_at"})
"""Fields that differ from release to release and say nothing of what a plugin may do."""
