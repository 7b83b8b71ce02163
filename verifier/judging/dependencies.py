"""Dependencies, step 8: what a wheel and its locked dependencies require is locked, or provided by the host.

A locked dependency is one exact wheel, named by the signed manifest. Its bytes come from the host's wheelhouse, where
anybody may have put anything: what counts is the sha256 that the manifest names, and the strict reader that plugins go
through too. Nothing is resolved, and nothing is fetched.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from verifier.errors import Refused
from verifier.formats.manifest import Dependency, SignedManifest
from verifier.formats.packages import Versions, normalised, versions
from verifier.wheels.wheel import Snapshot, WheelReader

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MAX_TOTAL: Final = 2 << 30
"""Bytes of all wheels together that one plugin may lock."""
SHOWN: Final = 100
"""How many characters of a text that somebody else wrote a message shows."""

Provided = Callable[[str], str | None]
"""The version of a distribution that the host's environment provides, by its normalised name, or None."""
Offers = Callable[[Dependency], Iterable[tuple[str, bytes]]]
"""What lies in the host's wheelhouse under a dependency's name and version: file name and content of each."""


def locked_wheels(
    manifest: SignedManifest, offers: Offers | None, read: WheelReader, limit: int = MAX_TOTAL
) -> tuple[Snapshot, ...]:
    """The wheels of all locked dependencies, each the very one that the manifest names, strictly read.

    Args:
        manifest: the signed manifest.
        offers: the host's wheelhouse; None when the host has none.
        read: the strict reader.
        limit: bytes of all of them together.

    Raises:
        Refused: ``dependency.unavailable``, ``dependency.version``, ``dependency.too-large``, or a ``wheel.*`` code.
    """
    found: list[Snapshot] = []
    total = 0
    for dependency in manifest.dependencies:
        file_name, data = _take(dependency, offers)
        total += len(data)
        if total > limit:
            raise Refused(
                "dependency.too-large",
                "the locked dependencies together exceed the cap",
                found=f"{total} bytes with {dependency.name}",
                expected=f"at most {limit} bytes",
            )
        found.append(_read(dependency, file_name, data, read))
    return tuple(found)


def _take(dependency: Dependency, offers: Offers | None) -> tuple[str, bytes]:
    """The one offer of the digest that is locked; it is copied nowhere and read no second time."""
    others = []
    for file_name, offered in offers(dependency) if offers is not None else ():
        data = bytes(offered)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest == dependency.sha256:
            return file_name, data
        others.append(f"{file_name[:SHOWN]}, {digest}")
    raise Refused(
        "dependency.unavailable",
        f"the locked dependency {dependency.name} {dependency.version} is not in this host's wheelhouse",
        found=ascii("; ".join(others[:3]))[1:-1] if others else "no wheel of that name and version",
        expected=dependency.sha256,
    )


def _read(dependency: Dependency, file_name: str, data: bytes, read: WheelReader) -> Snapshot:
    try:
        snapshot = read(data, file_name, dependency.sha256)
    except Refused as error:
        what = f"the locked dependency {dependency.name} {dependency.version}: {error.what}"
        raise Refused(error.code, what, found=error.found, expected=error.expected, todo=_ANOTHER) from error
    if (snapshot.name, snapshot.version) != (dependency.name, dependency.version):
        raise Refused(
            "dependency.version",
            "a locked dependency's wheel is of another name or version than the manifest says",
            found=f"{snapshot.name} {snapshot.version}",
            expected=f"{dependency.name} {dependency.version}",
        )
    return snapshot


def check_dependencies(
    manifest: SignedManifest, snapshot: Snapshot, provided: Provided | None, wheels: Sequence[Snapshot] = ()
) -> None:
    """What the wheel and its locked dependencies require is declared, and the host has what it is to provide.

    Args:
        manifest: the signed manifest.
        snapshot: the plugin's wheel.
        provided: looks up the host's distributions; None where there is no host (at admission).
        wheels: those of the locked dependencies; where there is no host, none is at hand, and only the plugin's own
            requirements are judged.

    Raises:
        Refused: ``dependency.undeclared``, ``dependency.version``, ``dependency.missing``; ``wheel.metadata``.
    """
    host = dict(entry.bounds for entry in manifest.host_provided)
    locked = {dependency.name: str(dependency.version) for dependency in manifest.dependencies}
    if provided is not None:
        for project, wanted in host.items():
            _check_provided(project, wanted, provided)
    for wheel, requirement in requirements_of(snapshot, wheels):
        name = normalised(requirement.name)
        version = snapshot.version if name == snapshot.name else locked.get(name)
        if version is not None:
            _check_locked(wheel, requirement, version)
        elif name not in host:
            raise Refused(
                "dependency.undeclared",
                f"{_who(wheel, snapshot)} requires what the plugin's manifest does not declare",
                found=name,
                expected="every requirement under host_provided, or locked under dependencies",
            )
        elif provided is not None:
            _check_provided(name, versions(str(requirement.specifier)), provided)


def requirements_of(snapshot: Snapshot, wheels: Iterable[Snapshot]) -> Iterator[tuple[Snapshot, Requirement]]:
    """Everything that is required here, and by whom: by the plugin, and by each of the other wheels that it needs.

    An extra counts for a wheel as soon as anybody requires that wheel with it; each pair of the two is looked at once.

    Args:
        snapshot: the plugin's wheel.
        wheels: those that are at hand to be needed.

    Raises:
        Refused: ``wheel.metadata`` for a malformed requirement.
    """
    at_hand: Mapping[str, Snapshot] = {**{wheel.name: wheel for wheel in wheels}, snapshot.name: snapshot}
    waiting = deque([(snapshot.name, "")])
    seen = {*waiting}
    while waiting:
        name, extra = waiting.popleft()
        wheel = at_hand[name]
        for requirement in requirements_here(wheel, extra):
            yield wheel, requirement
            wanted = str(normalised(requirement.name))
            if wanted in at_hand:
                pairs = {(wanted, text) for text in ("", *map(normalised, requirement.extras))} - seen
                seen |= pairs
                waiting.extend(sorted(pairs))


def requirements_here(snapshot: Snapshot, extra: str = "") -> tuple[Requirement, ...]:
    """What a wheel requires on this interpreter and platform.

    Args:
        snapshot: the wheel.
        extra: the extra that it was asked for with; without one, requirements of extras are left out.

    Raises:
        Refused: ``wheel.metadata`` for a malformed requirement.
    """
    if not snapshot.metadata.requires_dist:
        return ()
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName  # see ``verifier/formats/packages.py``
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for text in snapshot.metadata.requires_dist:
        try:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName) as error:
            raise Refused(
                "wheel.metadata", "METADATA holds a malformed requirement", found=ascii(text[:200])
            ) from error
        if applies:
            found.append(requirement)
    return tuple(found)


def _check_locked(wheel: Snapshot, requirement: Requirement, version: str) -> None:
    if not requirement.specifier.contains(version, prereleases=True):
        raise Refused(
            "dependency.version",
            f"{wheel.name} {wheel.version} requires another version than is locked",
            found=f"{normalised(requirement.name)} {version}",
            expected=f"{normalised(requirement.name)}{requirement.specifier}",
        )


def _check_provided(name: str, wanted: Versions, provided: Provided) -> None:
    version = provided(name)
    if version is None or not wanted.admit(version):
        raise Refused(
            "dependency.missing",
            "the host does not provide what the plugin needs",
            found=f"{name} {version[:SHOWN]!a}" if version else f"no {name}",
            expected=f"{name}{wanted}",
        )


def _who(wheel: Snapshot, plugin: Snapshot) -> str:
    return "the wheel" if wheel is plugin else f"the locked dependency {wheel.name} {wheel.version}"


_ANOTHER: Final = "Ask the plugin's owner for a release that locks another wheel of it, or have the host provide it."
