"""What a wheel needs at run time: locked by hash, or provided by the host because the manifest says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from attestor.building.wheelhouse import LockedWheel, Wheelhouse
from attestor.describing.declared import declared_licences
from verifier.judging.dependencies import requirements_here, requirements_of
from verifier.wheels.wheel import Snapshot, read_wheel


@dataclass(frozen=True)
class LockedDependency:
    """A dependency that is locked: its wheel, its declared licences (may be none), and whom it requires by name."""

    wheel: LockedWheel
    licences: tuple[str, ...]
    requires: tuple[str, ...]


@dataclass(frozen=True)
class HostDependency:
    """A dependency that the host's environment supplies: its normalised name, and which versions will do."""

    name: str
    specifier: str


@dataclass(frozen=True)
class Dependencies:
    """Everything a wheel needs at run time.

    Args:
        direct: normalised names of what the wheel itself requires, sorted.
        locked: the exact wheels, sorted by name, those that they require included.
        host: what the host provides, sorted by name.
    """

    direct: tuple[str, ...]
    locked: tuple[LockedDependency, ...]
    host: tuple[HostDependency, ...]


def find_dependencies(wheel: Snapshot, host_provided: Sequence[str], house: Wheelhouse) -> Dependencies:
    """Lock what ``wheel`` requires, except for what the host provides.

    What only the host's own distributions need is the host's business, and is not locked.

    Args:
        wheel: the wheel; its ``Requires-Dist`` are read for this interpreter, its extras are left alone.
        host_provided: the manifest's requirements of the host's environment.
        house: where wheels come from.

    Raises:
        Refused: ``build.unlocked``; ``wheel.*`` when a dependency's wheel is not one that a host would read.
        Unreachable: ``unreachable.index``.
    """
    host = {canonicalize_name(wanted.name): wanted for wanted in map(Requirement, host_provided)}
    needed = requirements_here(wheel)
    to_lock = [wanted for wanted in needed if canonicalize_name(wanted.name) not in host]
    chosen = house.resolve([_unconditional(wanted) for wanted in to_lock], limits=list(host_provided))
    read = _read([found for found in chosen if found.name not in host], house)
    needs: dict[str, set[str]] = {wheel.name: set()}
    for asker, wanted in requirements_of(wheel, read.values()):
        needs.setdefault(asker.name, set()).add(str(canonicalize_name(wanted.name)))
    reached = set().union(*needs.values())
    return Dependencies(
        direct=tuple(sorted(needs[wheel.name])),
        locked=tuple(
            LockedDependency(locked, declared_licences(snapshot), tuple(sorted(needs.get(locked.name, ()))))
            for locked, snapshot in read.items()
            if locked.name in reached
        ),
        host=tuple(HostDependency(name, str(wanted.specifier)) for name, wanted in sorted(host.items())),
    )


def _unconditional(wanted: Requirement) -> str:
    """The requirement without its marker, which has been evaluated."""
    plain = Requirement(str(wanted))
    plain.marker = None
    return str(plain)


def _read(wheels: Sequence[LockedWheel], house: Wheelhouse) -> dict[LockedWheel, Snapshot]:
    """Fetch the wheels, and read each as a host would."""
    with TemporaryDirectory(prefix="loadlock-dependencies-") as name:
        folder = Path(name)
        house.fetch(wheels, folder)
        return {wheel: read_wheel((folder / wheel.file_name).read_bytes(), wheel.file_name) for wheel in wheels}
