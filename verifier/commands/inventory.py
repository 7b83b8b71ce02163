"""The plugins in a directory: each verified, and which of them a host would load beside one another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from verifier import importing
from verifier.deployment.artifacts import SET_SUFFIX
from verifier.deployment.home import Home
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.files import read_capped
from verifier.formats.bundle import parse_set
from verifier.formats.dsse import MAX_SET
from verifier.formats.statement import CERTIFICATION, Certification, parse_certification, parse_statement
from verifier.gate import Gate
from verifier.hosting.plugins import newest_first
from verifier.hosting.settings import MAX_WHEELS
from verifier.installed.installations import all_installations, find_installation
from verifier.installed.unattested import Unattested
from verifier.judging.evidence import payload_digest
from verifier.judging.verify import VerifiedPlugin
from verifier.value import Value


class Entry(Value, frozen=True):
    """A wheel or the dist-info directory of what is installed, and its facts or why there are none; and the exception
    by which ``load_unattested`` would load it all the same.
    """

    path: Path
    facts: VerifiedPlugin | None = None
    refusal: LoadlockError | None = None
    exception: Unattested | None = None

    @property
    def is_installed(self) -> bool:
        """Whether an installer has unpacked it."""
        return self.path.suffix != ".whl"

    @property
    def document(self) -> dict[str, Any]:
        """The entry as plain values, for JSON."""
        if self.facts is None:
            return {"file": self.path.name, "ok": False, "error": self.refusal and self.refusal.document()}
        facts = self.facts
        return {
            "file": self.path.name,
            "ok": True,
            "plugin_id": facts.plugin_id,
            "version": facts.version,
            "tier": facts.tier,
            "digest": facts.artifact_digest,
            "warnings": list(facts.warnings),
        }


class Planned(Value, frozen=True):
    """What a host would do with a wheel: ``loads``, ``superseded`` by a newer one, ``clashes``, ``refused``; or
    ``excepted``: refused, but that an exception holds for whoever asks for it by name.
    """

    entry: Entry
    outcome: Literal["loads", "superseded", "clashes", "refused", "excepted"]
    reason: str = ""
    refusal: LoadlockError | None = None


def take(gate: Gate, directory: Path) -> list[Entry]:
    """Verify every wheel of a directory, by name.

    Raises:
        UsageError: ``usage.arguments`` when it is no directory, or holds too many.
    """
    if not directory.is_dir():
        raise UsageError("usage.arguments", "not a directory", found=repr(str(directory)[:200]))
    wheels = sorted(directory.glob("*.whl"))
    if len(wheels) > MAX_WHEELS:
        raise UsageError("usage.arguments", "too many wheels", found=str(len(wheels)), expected=f"≤ {MAX_WHEELS}")
    return [verified(gate, wheel) for wheel in wheels]


def take_installed(gate: Gate, names: Iterable[str] | None = None) -> list[Entry]:
    """Verify installed distributions.

    Args:
        gate: the host's.
        names: which, by their names; those that the policy knows as plugins if None, in the order of their names.
    """
    if names is None:
        known = gate.ground.trust.policy.plugins
        names = [found.name for found in all_installations(sys.path) if found.name.replace("-", "_") in known]
    return [_installed(gate, name) for name in names]


def _installed(gate: Gate, name: str) -> Entry:
    path = Path(name)
    try:
        found = find_installation(name)
        path = found.root / found.dist_info
        return Entry(path, gate.verify_installed(name, site=found.root))
    except Refused as refusal:
        try:
            return Entry(path, refusal=refusal, exception=gate.examine_unattested(name, refusal))
        except LoadlockError:  # no exception holds: it is refused for the reason that it was
            return Entry(path, refusal=refusal)
    except LoadlockError as error:
        return Entry(path, refusal=error)


def verified(gate: Gate, wheel: Path) -> Entry:
    """One wheel, verified or not."""
    try:
        return Entry(wheel, gate.verify(wheel))
    except LoadlockError as error:
        return Entry(wheel, refusal=error)


def releases(entries: Iterable[Entry]) -> dict[str, list[VerifiedPlugin]]:
    """The verified releases of each plugin, the newest first."""
    found: dict[str, list[VerifiedPlugin]] = {}
    for entry in entries:
        if entry.facts is not None:
            found.setdefault(entry.facts.plugin_id, []).append(entry.facts)
    return {
        plugin: sorted(several, key=lambda facts: (facts.version.order, facts.artifact_digest), reverse=True)
        for plugin, several in sorted(found.items())
    }


def plan(entries: Sequence[Entry]) -> list[Planned]:
    """What a host would load that takes the newest release of each plugin's wheels, as
    :class:`verifier.hosting.Plugins` does, and then those that are installed.

    Each is made importable in this process, as a host does, and taken out again; no code of a plugin runs.
    """
    wheels = {entry.path: entry.facts for entry in entries if not entry.is_installed and entry.facts is not None}
    first = [wheels[several[0]] for several in newest_first(wheels).values()]
    newest: dict[str, VerifiedPlugin] = {facts.plugin_id: facts for facts in first}
    chosen = [*newest.values(), *(entry.facts for entry in entries if entry.is_installed and entry.facts is not None)]
    clashes: list[tuple[VerifiedPlugin, LoadlockError]] = []
    registered: list[importing.Registration] = []
    try:
        for facts in chosen:
            try:
                registered.append(
                    importing.register(facts.snapshot, plugin_id=facts.plugin_id, dependencies=facts.dependencies)
                )
            except Refused as refusal:
                clashes.append((facts, refusal))
    finally:
        for registration in reversed(registered):
            registration.unregister()
    return [_planned(entry, newest, clashes) for entry in entries]


def _planned(
    entry: Entry, newest: Mapping[str, VerifiedPlugin], clashes: Sequence[tuple[VerifiedPlugin, LoadlockError]]
) -> Planned:
    facts, refusal = entry.facts, entry.refusal
    if facts is None:
        reason = "" if refusal is None else f"[{refusal.code}] {refusal.what}"
        if entry.exception is None:
            return Planned(entry, "refused", reason, refusal)
        by = f"by the exception of the profile {entry.exception.profile!r} it could be loaded until"
        return Planned(entry, "excepted", f"{reason}; {by} {entry.exception.until}", refusal)
    if not entry.is_installed and newest[facts.plugin_id] is not facts:
        return Planned(entry, "superseded", f"by {newest[facts.plugin_id].version}")
    for one, clash in clashes:
        if one is facts:
            return Planned(entry, "clashes", f"[{clash.code}] {clash.what}", clash)
    return Planned(entry, "loads", f"at tier {facts.tier}")


def shared_names(facts: Iterable[VerifiedPlugin]) -> dict[str, list[str]]:
    """The entry points that several plugins offer under one name, each with the plugins."""
    offered: dict[str, list[str]] = {}
    for plugin in facts:
        for group, names in plugin.manifest.entry_points.items():
            for name in names:
                offered.setdefault(f"{group}:{name}", []).append(plugin.plugin_id)
    return {name: plugins for name, plugins in sorted(offered.items()) if len(plugins) > 1}


def certification_of(facts: VerifiedPlugin, wheel: Path, home: Home) -> Certification | None:
    """The certification that the facts rest on, found in the set by the digest of the payload that was verified."""
    wanted = facts.statements.get(CERTIFICATION)
    if wanted is None:
        return None
    beside = wheel.with_name(wheel.name + SET_SUFFIX)
    place = beside if os.path.isfile(beside) else home.set_path(facts.artifact_digest.hex)
    for bundle in parse_set(read_capped(place, MAX_SET, "attestation set")):
        payload = bundle.envelope.unverified_payload
        if payload_digest(payload) == wanted:
            return parse_certification(parse_statement(payload).predicate)
    raise Refused("certification.missing", "the attestation set was replaced while it was read", expected=wanted)
