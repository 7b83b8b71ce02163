"""By code: what to do so that a plugin is refused with it. A host's tests take one, or all of them in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from loadlock.testing.deployment import Deployment, set_beside
from loadlock.testing.people import Person
from loadlock.testing.statements import Release, make_wheel
from verifier.formats.text import Time

NAME = "refused-plugin"
PLUGIN = "refused_plugin"
MODULES: dict[str, str | bytes] = {f"{PLUGIN}.py": "raise AssertionError('a plugin that is refused must not run')\n"}

Recipe = Callable[[Deployment], Path]


class Refusal(NamedTuple):
    """A wheel that is refused, the code, and the deployment in which it is."""

    code: str
    wheel: Path
    deployment: Deployment


def _attested(deployment: Deployment, **manifest: Any) -> Path:
    return deployment.attest(MODULES, name=NAME, **manifest)


def _with(change: Callable[[Deployment, Release], object]) -> Recipe:
    """A release of which something is wrong before it is signed."""

    def recipe(deployment: Deployment) -> Path:
        file_name, data = make_wheel(MODULES, NAME, "1.0")
        release = deployment.release(file_name, data)
        change(deployment, release)
        return deployment.put(release, data)

    return recipe


def _after(change: Callable[[Deployment, Path], object]) -> Recipe:
    """An honest release to which something happens afterwards."""

    def recipe(deployment: Deployment) -> Path:
        wheel = _attested(deployment)
        change(deployment, wheel)
        return wheel

    return recipe


def _policy(place: str, value: Any) -> Recipe:
    return _after(lambda deployment, _: deployment.change_policy(place.replace("PLUGIN", PLUGIN), value))


def _holding(*paths: str) -> Recipe:
    """A wheel that holds files that no wheel may, with the honest statements of one that does not."""

    def recipe(deployment: Deployment) -> Path:
        wheel = _attested(deployment)
        release = deployment.release(wheel.name, wheel.read_bytes())
        _, data = make_wheel({**MODULES, **dict.fromkeys(paths, "")}, NAME, "1.0")
        return _about(deployment, release, data)

    return recipe


def _about(deployment: Deployment, release: Release, data: bytes) -> Path:
    """Put bytes with statements that were made about others, and say that they are about these."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    for statement in release.statements.values():
        statement.subject = digest
    release.statements["manifest"].predicate["artifact_digest"] = digest
    return deployment.put(release, data)


def _garbage(deployment: Deployment) -> Path:
    wheel = _attested(deployment)
    return _about(deployment, deployment.release(wheel.name, wheel.read_bytes()), b"no archive at all")


def _signed_by(title: str, name: str) -> Recipe:
    def change(deployment: Deployment, release: Release) -> None:
        release.statements[title].signer = deployment.people[name]

    return _with(change)


def _predicate(title: str, **fields: Any) -> Recipe:
    return _with(lambda _, release: release.statements[title].predicate.update(fields))


def _without(title: str) -> Recipe:
    def change(_: Deployment, release: Release) -> None:
        release.pin()
        release.pinned = False
        del release.statements[title]

    return _with(change)


def _forged(deployment: Deployment, release: Release) -> None:
    """The owner's name on what somebody else signed."""
    owner, stranger = deployment.people["owner"], Person("stranger")
    stranger.public = owner.public
    release.statements["manifest"].signer = stranger


def _other_sbom(_: Deployment, release: Release) -> None:
    release.pin()
    release.pinned = False
    release.statements["sbom"].predicate["serialNumber"] = "urn:uuid:00000000-0000-0000-0000-000000000001"


def _touched(_: Deployment, wheel: Path) -> None:
    """One byte of the wheel is another."""
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)


def _expired(deployment: Deployment, release: Release) -> None:
    release.statements["manifest"].predicate["expires_at"] = Time.of(deployment.now - timedelta(seconds=1))


def _certified_once(deployment: Deployment, release: Release) -> None:
    terms = next(value for key, value in release.statements["certification"].predicate.items() if "expires" in value)
    terms["expires"] = Time.of(deployment.now - timedelta(seconds=1))


REFUSALS: dict[str, Recipe] = {
    # trust and list
    "trust.expired": _after(lambda deployment, _: deployment.pass_time(timedelta(days=31))),
    "clock.behind": _after(lambda deployment, _: deployment.pass_time(-timedelta(days=1))),
    "list.stale": _after(lambda deployment, _: deployment.pass_time(timedelta(days=3))),
    "revoked.artifact": _after(lambda deployment, wheel: deployment.revoke(wheel)),
    # the set and its signatures
    "set.missing": _after(lambda _, wheel: set_beside(wheel).unlink()),
    "set.statement-missing": _without("sbom"),
    "format.syntax": _after(lambda _, wheel: set_beside(wheel).write_bytes(b"{\n")),
    "signature.invalid": _with(_forged),
    "signature.unknown-signer": _signed_by("manifest", "stranger"),
    "signature.wrong-signer": _signed_by("manifest", "builder"),
    "signature.key-revoked": _policy("principals.owner.status", "revoked"),
    "signature.key-retired": _policy("principals.owner.status", "retired"),
    "subject.digest": _after(_touched),
    # the wheel
    "wheel.archive": _garbage,
    "wheel.forbidden": _holding("start.pth"),
    "wheel.shadowing": _holding("json.py"),
    # what is said of it
    "manifest.expired": _with(_expired),
    "manifest.api-version": _predicate("manifest", api_version=">=99"),
    "manifest.version": _predicate("manifest", version="2.0"),
    "sbom.digest": _with(_other_sbom),
    "dependency.missing": _predicate("manifest", host_provided=["a-distribution-that-nobody-has"]),
    "certification.expired": _with(_certified_once),
    # the decision
    "decision.tier": _without("certification"),
    "decision.unknown-plugin": _policy("plugins.PLUGIN", None),
    "decision.denied": _policy("denied_plugins", [PLUGIN]),
    "decision.min-version": _policy("plugins.PLUGIN.min_version", "2.0"),
    "decision.maturity": _policy("tiers.core.maturities", ["deprecated"]),
    "decision.isolation": _policy("tiers.core.isolation", "sandbox"),
}
"""Recipes by code. Each changes the deployment as far as it needs, and gives a wheel that is refused by hosts that ask
for the tier ``core``, as settings do that say nothing else.
"""
