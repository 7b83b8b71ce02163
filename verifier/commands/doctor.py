"""Looks a host's plugins over for what will go wrong soon: ends that come near, and drift between releases.

What is refused already is an error; everything else is a warning in time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from verifier.commands.inventory import Entry, certification_of, releases
from verifier.commands.prepare import libraries_of
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.formats.text import Time, Version
from verifier.formats.unattested import FILE_NAME
from verifier.importing.prepared import RootsDirectory
from verifier.installed.excepted import read_excepted
from verifier.judging.growth import compare
from verifier.judging.verify import Ground, VerifiedPlugin
from verifier.judging.waivers import sentence
from verifier.refreshing.acknowledging import acknowledged, read_identity
from verifier.value import Value

UNHEARD = timedelta(hours=1)
"""How long ago a host that watches has acknowledged at most."""
LIST_SHARE = 3
"""A list is near its end in the last third of its life: the server signs it again after half."""

POLICY_NEAR = timedelta(days=10)
"""A policy is signed for 30 days at most, so it is near its end in the last third of them, as the server has it too."""


class Symptom(Value, frozen=True):
    """One thing that is wrong, or will be.

    Attributes:
        level: ``error`` when a plugin is refused now.
        name: which kind it is; stable. For a refusal, its code.
        subject: the wheel, or ``policy``, ``list``, ``host`` for this one, another host's name.
        what: what was seen, in words.
    """

    level: Literal["error", "warning"]
    name: str
    subject: str
    what: str

    @property
    def document(self) -> dict[str, Any]:
        """The symptom as plain values, for JSON."""
        return {name: getattr(self, name) for name in ("level", "name", "subject", "what")}

    def __str__(self) -> str:
        return f"{self.level:<8}{self.name:<24}{self.subject}: {self.what}"


class Checkup(Value, frozen=True):
    """What is looked for.

    Attributes:
        now: the moment (aware, UTC).
        within: how near an end has to be.
        host_api: an API version that the host is about to offer.
    """

    now: datetime
    within: timedelta
    host_api: Version | None = None


def examine(
    ground: Ground, home: Home, entries: Sequence[Entry], before: Sequence[Entry], checkup: Checkup
) -> list[Symptom]:
    """Everything that is wrong, or will be; errors first.

    Args:
        ground: what plugins are judged against now.
        home: the host's deployment directory.
        entries: the host's plugins.
        before: those of an earlier state, to compare with; may be empty.
        checkup: what is looked for.
    """
    found = [
        *_of_ground(ground, checkup),
        *_of_acknowledgement(ground, home, checkup),
        *_excepted(ground, home, checkup),
    ]
    for entry in entries:
        if entry.facts is None:
            found.append(_refused(entry))
        else:
            found += _of_plugin(entry, entry.facts, ground, home, checkup)
    found += _drift(entries, before)
    return sorted(found, key=lambda symptom: symptom.level)


def _refused(entry: Entry) -> Symptom:
    refusal = entry.refusal
    code, what = ("internal.unexpected", "no facts") if refusal is None else (refusal.code, refusal.what)
    return Symptom("error", code, entry.path.name, what)


def _of_ground(ground: Ground, checkup: Checkup) -> Iterator[Symptom]:
    policy, head = ground.trust.policy, ground.revocations.head
    soon = replace(checkup, within=min(checkup.within, POLICY_NEAR))
    yield from _end("policy-expires", "policy", policy.valid_until, soon)
    if policy.exception_until is not None:
        yield from _end("exception-ends", "policy", policy.exception_until, checkup, f"the profile {policy.profile!r}")
    for key in policy.head_keys:
        yield from _end("head-key-expires", "policy", key.not_after, checkup, f"the key {key.key} of the list")
    life = head.expires.instant - head.issued.instant
    if checkup.now >= head.expires.instant + ground.grace_of(*policy.tiers):
        yield Symptom(
            "error", "list-expired", "list", f"ended at {head.expires}; no grace is left, and nothing is loaded"
        )
    elif checkup.now >= head.expires.instant:
        yield Symptom("warning", "list-expired", "list", f"ended at {head.expires}; the grace is running")
    elif head.expires.instant - checkup.now < life / LIST_SHARE:
        yield Symptom("warning", "list-expires", "list", f"ends at {head.expires}, and no newer one came")


def _of_acknowledgement(ground: Ground, home: Home, checkup: Checkup) -> Iterator[Symptom]:
    """A host that means to acknowledge, and whose list the server was not told of."""
    try:
        if read_identity(home) is None:
            return
    except LoadlockError as error:
        yield Symptom("warning", "unacknowledged", "host", f"acknowledges nothing: {error.what}")
        return
    told, head = acknowledged(home), ground.revocations.head
    if told is None:
        yield Symptom("warning", "unacknowledged", "host", "has never acknowledged a list")
    elif (told.epoch, told.seq) < (head.epoch, head.seq) or checkup.now - told.at.instant > UNHEARD:
        what = f"acknowledged seq {told.seq} at {told.at} last, and goes by seq {head.seq}"
        yield Symptom("warning", "unacknowledged", "host", what)


def _excepted(ground: Ground, home: Home, checkup: Checkup) -> Iterator[Symptom]:
    """What was loaded although nobody attested it."""
    try:
        found = read_excepted(home, ground.trust.policy, checkup.now)
    except LoadlockError as error:
        yield Symptom("error", error.code, FILE_NAME, error.what)
        return
    for one in found:
        yield Symptom("warning", "unattested", one.last.name, str(one))


def of_coverage(coverage: Mapping[str, Any]) -> list[Symptom]:
    """What a server says of hosts that do not enforce the list.

    Args:
        coverage: its answer to ``GET /v1/coverage``.
    """
    found = []
    for name, words in (("lagging", "goes by an older list than the server's"), ("silent", "is not heard of any more")):
        hosts = coverage.get(name)
        for host in hosts if isinstance(hosts, list) else ():
            shown = "".join(letter if letter.isprintable() else "?" for letter in str(host)[:64])
            found.append(Symptom("warning", f"host-{name}", shown, words))
    return found


def of_libraries(directory: Path, entries: Iterable[Entry]) -> list[Symptom]:
    """Which plugins have libraries that each start copies, although they were to be prepared.

    Args:
        directory: where they were to be.
        entries: the host's plugins.
    """
    try:
        laid = RootsDirectory(str(directory))
    except OSError as error:
        return [Symptom("warning", "unprepared", "host", f"no prepared library is used: {error.strerror or error}")]
    found = []
    for entry in entries:
        copied = {} if entry.facts is None or entry.is_installed else _copied(laid, entry.facts)
        if copied:
            first, why = next(iter(copied.items()))
            what = f"{len(copied)} libraries are copied in each start ({first}: {why}); run 'loadlock host prepare'"
            found.append(Symptom("warning", "unprepared", entry.path.name, what))
    return found


def _copied(laid: RootsDirectory, facts: VerifiedPlugin) -> dict[str, str]:
    """The libraries of a plugin and its dependencies that are not prepared, and why they are not."""
    found = {}
    for snapshot in (facts.snapshot, *facts.dependencies):
        for path in libraries_of(snapshot.files):
            try:
                os.close(laid.open(snapshot.files.sha256(path).hex()))
            except OSError as error:
                found[path] = error.strerror or str(error)
    return found


def _of_plugin(entry: Entry, facts: VerifiedPlugin, ground: Ground, home: Home, checkup: Checkup) -> Iterator[Symptom]:
    name, manifest = entry.path.name, facts.manifest
    if manifest.expires_at is not None:
        yield from _end("manifest-expires", name, manifest.expires_at, checkup)
    certification = certification_of(facts, entry.path, home)
    if certification is not None:
        yield from _end("certification-expires", name, certification.terms.expires, checkup)
    for waiver in facts.waivers:
        yield Symptom("warning", "waived", name, sentence(waiver))
    if manifest.maturity in ("alpha", "deprecated"):
        yield Symptom("warning", "maturity", name, f"is {manifest.maturity}")
    if checkup.host_api is not None and not manifest.api_version.admits(checkup.host_api):
        yield Symptom(
            "warning", "api-version", name, f"takes host API {manifest.api_version}, which is not {checkup.host_api}"
        )
    own = ground.trust.policy.host_api
    if facts.api not in (None, own):
        what = f"takes host API {manifest.api_version}, and is called by the host's adapter for {facts.api}, not {own}"
        yield Symptom("warning", "api-adapted", name, what)
    for kind, signer in facts.signers.items():
        principal, made = ground.trust.policy.principals.get(signer), facts.made.get(kind)
        standing = None if principal is None or made is None else principal.standing_of(made.key)
        if standing is not None and standing.status == "retired":
            yield Symptom("warning", "key-retired", name, f"rests on a retired key of {signer}, which accepted it")
            break


def _drift(entries: Sequence[Entry], before: Sequence[Entry]) -> Iterator[Symptom]:
    """What the newest release of each plugin may do that the one before it might not."""
    earlier = releases(before)
    for plugin, several in releases(entries).items():
        newest = earlier.get(plugin, several)[0].version
        if newest.order > several[0].version.order:
            yield Symptom("warning", "downgrade", plugin, f"{newest} was there before, and {several[0].version} is now")
        known = (*several[1:], *earlier.get(plugin, ()))
        older = [facts for facts in known if facts.version.order < several[0].version.order]
        if older:
            last = max(older, key=lambda facts: facts.version.order)
            for change in compare(last.manifest, several[0].manifest):
                if change.grows:
                    what = f"{change.field}: {change.before or 'nothing'} → {change.after or 'nothing'}"
                    yield Symptom("warning", "grew", f"{plugin} {last.version} → {several[0].version}", what)


def _end(name: str, subject: str, end: Time, checkup: Checkup, what: str = "it") -> Iterator[Symptom]:
    if end.instant - checkup.now < checkup.within:
        yield Symptom("warning", name, subject, f"{what} ends at {end}")
