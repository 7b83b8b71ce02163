"""The two exceptions for people's real life: what nobody attested is loaded, loudly, until a date in the signed policy.

``migration``: a host adopts Loadlock with plugins already installed; each of them that nobody attested is reported, and
loaded. ``development``: the same for unsigned work of one's own, editable installations included, on a host that was
enrolled as one for development. ``docs/spec/policy.md`` ("Exceptions") gives the rules.

Only what is absent is excepted: no attestation set, no entry in the policy. What is there and wrong (a signature, a
file, a revoked artifact, a plugin that the policy denies) is refused as ever. What is loaded so is imported in Python's
ordinary way, by nobody's word but its own.
"""

from __future__ import annotations

import importlib
import logging
import os
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from verifier.clock import Clock
from verifier.deployment.home import Home
from verifier.errors import LoadlockError, PluginFailed, PluginRevoked, Refused, Unreachable, UsageError
from verifier.formats.policy import Policy
from verifier.formats.strict_json import convert
from verifier.formats.text import Digest, PluginId, Time, Version
from verifier.formats.unattested import FILE_NAME, MAX_REPORT, LoadedUnattested, dump_line
from verifier.installed.attested import candidates
from verifier.installed.installations import Installation, find_installation
from verifier.judging.judgements import check_list, check_not_listed
from verifier.judging.verify import Ground
from verifier.revocation.rulebook import check_rules
from verifier.revocation.standing_rules import Part, Subject
from verifier.runtime import Log, Run, Switch

logger = logging.getLogger(__name__)

_ABSENT: Final = {
    "migration": frozenset({"set.missing", "decision.unknown-plugin"}),
    "development": frozenset({"set.missing", "decision.unknown-plugin", "installed.editable"}),
}
"""The refusals that each profile excepts."""


class Unattested:
    """A distribution that was loaded although nobody attested it. Made by :meth:`verifier.Gate.load_unattested`.

    Attributes:
        plugin_id: the id that its name would have.
        version: its version, by its own word.
        installation: what was found; whoever installs another version meanwhile does not change what runs.
        refusal: why it is not attested.
        profile: which exception let it in.
        until: when that exception ends.
    """

    def __init__(
        self, installation: Installation, refusal: Refused, policy: Policy, observing: Clock | None = None
    ) -> None:
        self.plugin_id = PluginId.of(installation.name)
        self.version = Version(installation.version)
        self.refusal = refusal
        self.profile = policy.profile
        self.until = policy.exception_until
        self.installation = installation
        self._observing = observing
        self._switch = Switch(self.plugin_id, "unattested")

    def __repr__(self) -> str:
        return f"<Unattested {self.plugin_id} {self.version}{' (revoked)' if self.revoked else ''}>"

    def check(self) -> None:
        """Return as long as it may run; raises PluginRevoked."""
        self._switch.check()

    def module(self, name: str) -> ModuleType:
        """Import one of its modules, in Python's ordinary way.

        Raises:
            PluginRevoked: it may no longer run.
            PluginFailed: ``plugin.failed``; its own error is the cause.
        """
        self.check()
        try:
            return importlib.import_module(name)
        except Exception as error:
            raise PluginFailed("plugin.failed", f"importing {name!a} failed", found=type(error).__name__) from error

    def entry_point(self, group: str, name: str) -> Any:
        """The object that one of its entry points leads to, by its own metadata.

        Raises:
            PluginRevoked: it may no longer run.
            PluginFailed: ``plugin.failed``.
            Refused: ``manifest.entry-point``.
        """
        self.check()
        import importlib.metadata

        for point in importlib.metadata.distribution(self.installation.name).entry_points.select(
            group=group, name=name
        ):
            try:
                return point.load()
            except Exception as error:
                raise PluginFailed(
                    "plugin.failed", f"loading {point.value!a} failed", found=type(error).__name__
                ) from error
        raise Refused("manifest.entry-point", "the distribution names no such entry point", found=f"{group}:{name}")

    def run(self) -> Run:
        """A run, to be entered: records inside carry the plugin's id, and no digest, since nobody knows one. What it
        reaches for is attributed by the run alone: its frames are nobody's.
        """
        log = None if self._observing is None else Log(self._observing)
        return Run(plugin_id=self.plugin_id, artifact_digest="", switch=self._switch, log=log)

    @property
    def revoked(self) -> str | None:
        """Why it may no longer run, to be shown; None while it may."""
        return self._switch.reason

    def revoke(self, reason: str | PluginRevoked) -> None:
        """Let nothing call into it any more through this handle."""
        self._switch.throw(reason)


class Exceptions:
    """What one gate has let in by way of exception.

    Args:
        home: the host's directory, in which the report is kept.
        observing: the clock that runs record by; None where nothing is recorded.
    """

    def __init__(self, home: Home, observing: Clock | None = None) -> None:
        self._home = home
        self._observing = observing
        self._loaded: list[Unattested] = []  # changed by single steps alone: two threads may load at once

    def load(self, name: str, refusal: Refused, ground: Ground, now: datetime) -> Unattested:
        """Load a distribution that was refused, if an exception holds for it.

        Args:
            name: the distribution's name.
            refusal: why it was refused; what is raised when no exception holds.
            ground: what plugins are judged against now.
            now: the moment (aware, UTC).

        Raises:
            Refused: the refusal; or what the ground refuses anyhow.
            Unreachable: ``io.failed``: the report cannot be written.
        """
        found, installation = self._admitted(name, refusal, ground, now)
        self._report(found, installation, ground.fix_time(now))
        self._loaded.append(found)
        return found

    def examine(self, name: str, refusal: Refused, ground: Ground, now: datetime) -> Unattested:
        """What :meth:`load` would let in; nothing is loaded, reported or kept in mind.

        Raises:
            Refused: as :meth:`load`.
        """
        return self._admitted(name, refusal, ground, now)[0]

    def _admitted(self, name: str, refusal: Refused, ground: Ground, now: datetime) -> tuple[Unattested, Installation]:
        policy = ground.trust.policy
        moment = ground.fix_time(now)
        ground.trust.check(ground.deployment, ground.floor, moment)
        if refusal.code not in _ABSENT.get(policy.profile, ()) or not self._is_in_time(policy, moment):
            raise refusal
        if policy.profile == "development" and not self._home.host.development:
            refusal.add_note("the policy is for development, and this host was not enrolled with --development")
            raise refusal
        check_list(ground.revocations, ground.trust.checkpoint, ground.deployment, ground.floor)
        ground.revocations.freshness(moment, ground.grace_of(*policy.tiers))
        installation = find_installation(name)
        self._check(installation, ground)
        return Unattested(installation, refusal, policy, self._observing), installation

    def judge(self, ground: Ground) -> None:
        """Stop what may no longer run: when the profile is another, or the plugin is denied or revoked by a rule. The
        exception's end stops new loads alone, as every end does.
        """
        for one in list(self._loaded):
            if one.revoked is None:
                try:
                    if ground.trust.policy.profile != one.profile:
                        raise one.refusal
                    self._check(one.installation, ground)
                    self._check(find_installation(one.plugin_id), ground)  # what it has not imported yet is this one's
                except LoadlockError as error:
                    one.revoke(f"[{error.code}] {error.what}")
                    logger.warning("%r was stopped: [%s] %s", one, error.code, error.what)

    def _check(self, installation: Installation, ground: Ground) -> None:
        """Nothing that is known speaks against it."""
        plugin_id, version = PluginId.of(installation.name), Version(installation.version)
        if plugin_id in ground.trust.policy.denied_plugins:
            raise Refused("decision.denied", f"the policy denies the plugin {plugin_id!r}")
        for one in candidates(self._home, installation):
            check_not_listed(ground.revocations, one.wheel.digest)
        itself = Part(name=installation.name, version=version)
        subject = Subject(
            artifact=Digest(f"sha256:{'0' * 64}"), plugin_id=plugin_id, version=version, signers=(), keys=(),
            statements=(), builder="", repository="", parts=(itself,),
        )  # fmt: skip
        check_rules(ground.revocations.rules, subject)

    @staticmethod
    def _is_in_time(policy: Policy, now: datetime) -> bool:
        return policy.exception_until is not None and now < policy.exception_until.instant

    def _report(self, found: Unattested, installation: Installation, now: datetime) -> None:
        """Say it, and write it down; what cannot be written down is not loaded."""
        logger.warning(
            "%s %s is loaded although nobody attested it ([%s]), by the profile %r, until %s",
            installation.name, installation.version, found.refusal.code, found.profile, found.until,
        )  # fmt: skip
        line = {
            "at": Time.of(now), "name": installation.name, "version": installation.version, "code": found.refusal.code,
            "profile": found.profile, "until": found.until, "place": _shown(installation.root),
        }  # fmt: skip
        path = self._home.directory / FILE_NAME
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size > MAX_REPORT:
                    raise UsageError("format.too-large", "the report is full", found=repr(FILE_NAME), todo="Read it.")
                os.write(descriptor, dump_line(convert(line, LoadedUnattested, what=FILE_NAME)))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unreachable("io.failed", f"cannot write {FILE_NAME}", found=error.strerror or str(error)) from error


def _shown(place: Path) -> str:
    """A directory in one line of text, which a file system need not have named it in."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(place))[:4096]
