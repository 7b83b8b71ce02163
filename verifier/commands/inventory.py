"""The plugins in a directory: each verified, and which of them a host would load beside one another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from verifier import importing
from verifier.artifacts import SET_SUFFIX
from verifier.deployment.home import Home
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.files import read_capped
from verifier.formats.bundle import MAX_SET, parse_set
from verifier.formats.statement import CERTIFICATION, Certification, parse_certification, parse_statement
from verifier.gate import Gate
from verifier.judging.evidence import payload_digest
from verifier.judging.verify import VerifiedPlugin

MAX_WHEELS = 5_000
"""How many wheels a directory may hold."""


@dataclass(frozen=True)
class Entry:
    """A wheel or the dist-info directory of what is installed, and its facts or why there are none."""

    path: Path
    facts: VerifiedPlugin | None = None
    refusal: LoadlockError | None = None


@dataclass(frozen=True)
class Planned:
    """What a host would do with a wheel: ``loads``, ``superseded`` by a newer one, ``clashes``, or ``refused``."""

    entry: Entry
    outcome: Literal["loads", "superseded", "clashes", "refused"]
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


def take_installed(gate: Gate, site: Sequence[str] | None = None) -> list[Entry]:
    """Verify every installed distribution that the policy knows as a plugin, by name.

    Args:
        gate: the host's.
        site: the site directories to look in; those of this process if None.
    """
    from verifier.installed.installations import all_installations

    known = gate.ground.trust.policy.plugins
    entries = []
    for found in all_installations(sys.path if site is None else site):
        if found.name.replace("-", "_") in known:
            path = found.root / found.dist_info
            try:
                entries.append(Entry(path, gate.verify_installed(found.name, site=found.root)))
            except LoadlockError as error:
                entries.append(Entry(path, refusal=error))
    return entries


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
    """What a host would load that takes the newest release of each plugin, in the order of their ids.

    Each is made importable in this process, as a host does, and taken out again; no code of a plugin runs.
    """
    newest = {plugin: several[0] for plugin, several in releases(entries).items()}
    clashes: dict[str, LoadlockError] = {}
    registered: list[importing.Registration] = []
    try:
        for plugin, facts in newest.items():
            try:
                registered.append(importing.register(facts.snapshot, plugin_id=plugin, dependencies=facts.dependencies))
            except Refused as refusal:
                clashes[plugin] = refusal
    finally:
        for registration in reversed(registered):
            registration.unregister()
    return [_planned(entry, newest, clashes) for entry in entries]


def _planned(entry: Entry, newest: dict[str, VerifiedPlugin], clashes: dict[str, LoadlockError]) -> Planned:
    if entry.facts is None:
        refusal = entry.refusal
        return Planned(entry, "refused", "" if refusal is None else f"[{refusal.code}] {refusal.what}", refusal)
    chosen = newest[entry.facts.plugin_id]
    if chosen is not entry.facts:
        return Planned(entry, "superseded", f"by {chosen.version}")
    clash = clashes.get(entry.facts.plugin_id)
    if clash is not None:
        return Planned(entry, "clashes", f"[{clash.code}] {clash.what}", clash)
    return Planned(entry, "loads", f"at tier {chosen.tier}")


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
