"""Holds a manifest against the code that it is about, before anything is built.

An *error* is a contradiction that reading the code proves. A *warning* is for a person to look at: analysis sees names,
not intentions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name

from attestor.describing.analysis import Analysis, Place, analyse
from attestor.describing.code import Code, read_code
from attestor.describing.manifest import manifest_of, read_manifest
from verifier.errors import Refused
from verifier.formats.manifest import FILE_NAME, HostPattern, Manifest, RequirementText, parse_manifest
from verifier.formats.text import PluginId

Level = Literal["error", "warning"]
STRICT = frozenset({"network", "subprocess", "native-code", "file-read", "file-write", "environment"})
"""Capabilities whose use without a declaration is an error."""
LOCAL = frozenset({"localhost", "127.0.0.1"})


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, or that somebody should look at.

    Attributes:
        level: whether it stops a release.
        rule: which rule it breaks; stable.
        message: what is wrong, for a person.
        path: the file, below the import root, or the manifest's name.
        line: the line, from 1; 0 for a whole file.
    """

    level: Level
    rule: str
    message: str
    path: str
    line: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """The problem as plain values, for JSON."""
        return {name: getattr(self, name) for name in ("level", "rule", "message", "path", "line")}

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{self.level:<8}{self.rule:<24}{place}: {self.message}"


def validate(source: Path, manifest: Path | None, now: datetime) -> list[Problem]:
    """Everything that is wrong with a plugin's manifest, and between it and the code; errors first.

    Args:
        source: a project's directory, or a wheel.
        manifest: the manifest, when it is neither in the project nor in the wheel.
        now: the moment, aware.

    Raises:
        UsageError: source or manifest cannot be read; Refused: ``wheel.*``.
    """
    code = read_code(source)
    found = analyse(code.files)
    try:
        declared = _manifest(source, code, manifest)
    except Refused as refusal:  # what is wrong with the manifest itself is a finding like the others
        said = f"{refusal.what}: {refusal.found}" if refusal.found else refusal.what
        problems = [Problem("error", refusal.code, said, FILE_NAME), *_broken(found)]
    else:
        problems = list(check(declared, code, found, now))
    return sorted(problems, key=lambda problem: (problem.level, problem.path, problem.line, problem.rule))


def check(manifest: Manifest, code: Code, found: Analysis, now: datetime) -> Iterator[Problem]:
    """What is wrong between a manifest and the code it is about."""
    yield from _broken(found)
    yield from _identity(manifest, code)
    if manifest.expires_at is not None and manifest.expires_at.instant <= now:
        yield Problem("error", "expired", f"'expires_at' is past: {manifest.expires_at}", FILE_NAME)
    yield from _entry_points(manifest, found)
    yield from _unsaid_entry_points(manifest, code)
    yield from _capabilities(manifest, found)
    yield from _egress(manifest, found)
    yield from _requirements(manifest, code, found)
    for variable in sorted(set(found.secrets) - set(manifest.secrets)):
        place = found.variables[variable][0]
        yield _at("warning", "undeclared-secret", f"{variable} sounds like a secret and is not in 'secrets'", place)
    for place, what in found.unseen:
        yield _at("warning", "unseen", f"{what} runs what analysis cannot see", place)


def _manifest(source: Path, code: Code, given: Path | None) -> Manifest:
    if given is not None:
        return read_manifest(given)
    if source.is_dir():
        return manifest_of(source)
    embedded = [path for path in code.files if path.rpartition("/")[2] == FILE_NAME]
    if len(embedded) != 1:
        raise Refused(
            "manifest.missing", "the wheel embeds no manifest, or several", found=str(len(embedded)),
            expected="one, or --manifest FILE",
        )  # fmt: skip
    return parse_manifest(code.files[embedded[0]], what=embedded[0])


def _broken(found: Analysis) -> Iterator[Problem]:
    for place, why in found.broken:
        yield _at("error", "not-python", f"cannot be read as Python: {why}", place)


def _identity(manifest: Manifest, code: Code) -> Iterator[Problem]:
    expected = PluginId.of(code.name)
    if manifest.plugin_id != expected:
        yield Problem(
            "error", "plugin-id", f"plugin_id is {manifest.plugin_id!r}, the project's is {expected!r}", FILE_NAME
        )
    if code.version and manifest.version != code.version:
        yield Problem("error", "version", f"version is {manifest.version}, the project's is {code.version}", FILE_NAME)


def _entry_points(manifest: Manifest, found: Analysis) -> Iterator[Problem]:
    for group, names in manifest.entry_points.items():
        for name, target in names.items():
            module, _, attribute = target.partition(":")
            if module in found.compiled:
                continue  # what it defines, nobody can read
            if module not in found.names:
                yield Problem("error", "entry-point", f"{group}:{name} is in {module!r}, which is not there", FILE_NAME)
            elif attribute and attribute.partition(".")[0] not in found.names[module]:
                said = f"{group}:{name} is {attribute!r} of {module!r}, which does not name it at its top"
                yield Problem("warning", "entry-point", said, FILE_NAME)


def _unsaid_entry_points(manifest: Manifest, code: Code) -> Iterator[Problem]:
    """What the project's own metadata offers under a group that the manifest speaks of: no host will find it."""
    for group in sorted(manifest.entry_points.keys() & code.entry_points.keys()):
        declared = manifest.entry_points[group]
        for name, target in sorted(code.entry_points[group].items()):
            if declared.get(name) != target:
                here = repr(declared[name]) if name in declared else "none"
                said = f"{group}:{name} is {target!r} in the project and {here} in the manifest, which alone counts"
                yield Problem("warning", "entry-point", said, FILE_NAME)


def _capabilities(manifest: Manifest, found: Analysis) -> Iterator[Problem]:
    declared = {capability.name for capability in manifest.capabilities}
    for name, uses in sorted(found.uses.items()):
        if name not in declared:
            place, what = uses[0]
            more = f", and in {len(uses) - 1} more places" if len(uses) > 1 else ""
            level: Level = "error" if name in STRICT else "warning"
            yield _at(level, "undeclared-capability", f"{what} needs the capability {name!r}{more}", place)
    for name in sorted(declared & (STRICT | {"logging", "metrics"}) - found.uses.keys()):
        said = f"{name!r} is declared, and no code was seen that needs it"
        yield Problem("warning", "unused-capability", said, FILE_NAME)
    reasons: dict[str, str] = {}
    for capability in manifest.capabilities:
        first = reasons.setdefault(capability.rationale, capability.name)
        if first != capability.name:
            yield Problem("error", "rationale", f"{first!r} and {capability.name!r} have one rationale", FILE_NAME)


def _egress(manifest: Manifest, found: Analysis) -> Iterator[Problem]:
    for destination, places in sorted(found.destinations.items()):
        covered = any(
            HostPattern(entry.host).covers(destination.host)
            and destination.scheme in entry.schemes
            and destination.port in entry.ports
            for entry in manifest.allowed_egress
        )
        if not covered and destination.host not in LOCAL:
            yield _at("warning", "undeclared-host", f"{destination} is not in 'allowed_egress'", places[0])
    if manifest.hermetic_compatible and "network" in found.uses:
        place, what = found.uses["network"][0]
        yield _at("error", "hermetic", f"'hermetic_compatible' is declared, and {what} needs the network", place)


def _requirements(manifest: Manifest, code: Code, found: Analysis) -> Iterator[Problem]:
    stated = {entry.project for entry in (*manifest.sdk_allowlist, *manifest.host_provided)}
    stated |= {canonicalize_name(_name(text)) for text in code.requirements}
    for module, places in sorted(found.imports.items()):
        if not any(_same(module, name) for name in stated):
            said = f"{module!r} is imported, and no requirement of that name is declared"
            yield _at("warning", "undeclared-import", said, places[0])


def _name(requirement: str) -> str:
    try:
        return RequirementText(requirement.partition(";")[0].strip()).project
    except ValueError:
        return requirement.partition(" ")[0]


def _same(module: str, distribution: str) -> bool:
    """Whether a distribution's name suggests the module: equal, or with a prefix or suffix of its own."""
    plain = canonicalize_name(module)
    return plain in (distribution, distribution.removeprefix("python-")) or plain in distribution.split("-")


def _at(level: Level, rule: str, message: str, place: Place) -> Problem:
    return Problem(level, rule, message, place.path, place.line)
