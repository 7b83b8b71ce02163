"""What installers have put into an environment: found by its dist-info directory, and believed in nothing.

Which distribution is meant, and where it lies, decides which files are looked at; what they have to be, the attested
RECORD says. Claims that stand beside them may deny (``direct_url.json`` says that an installation is editable), and
never allow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from verifier.errors import LoadlockError, Refused, UsageError
from verifier.files import read_capped
from verifier.formats import strict_json
from verifier.formats.packages import canonical, normalised
from verifier.value import Value
from verifier.wheels.core_metadata import parse_wheel_file
from verifier.wheels.wheel import parse_file_name
from verifier.wheels.wheel_paths import shown

if TYPE_CHECKING:
    from importlib.metadata import Distribution

MAX_DIRECT_URL: Final = 64 * 1024
"""Size cap of ``direct_url.json`` in bytes."""
MAX_WHEEL_FILE: Final = 64 * 1024
"""Size cap of ``WHEEL`` in bytes."""
MAX_DISTRIBUTIONS: Final = 20_000
"""How many distributions of one environment are looked at."""

_SUFFIX: Final = ".dist-info"


class Installation(Value, frozen=True):
    """One distribution that is installed.

    Attributes:
        name: its normalised name.
        version: its canonical version.
        root: the site directory that it lies in.
        dist_info: the name of its dist-info directory.
    """

    name: str
    version: str
    root: Path
    dist_info: str

    @property
    def is_editable(self) -> bool:
        """Whether the source itself is installed, by its own word (PEP 610)."""
        try:
            path = self.root / self.dist_info / "direct_url.json"
            data = read_capped(path, MAX_DIRECT_URL, "direct_url.json")
            found = strict_json.loads(data, limit=MAX_DIRECT_URL, what="direct_url.json")
        except LoadlockError:
            return False  # then it has to be what was attested, file by file
        info = found.get("dir_info") if isinstance(found, dict) else None
        return isinstance(info, dict) and info.get("editable") is True

    def may_be(self, file_name: str) -> bool:
        """Whether a wheel of that file name may have been unpacked here, by the tags that the installer left."""
        try:
            stated = parse_wheel_file(read_capped(self.root / self.dist_info / "WHEEL", MAX_WHEEL_FILE, "WHEEL"))
            return stated.tags == parse_file_name(file_name).tags
        except LoadlockError:
            return True  # then it has to be what was attested, file by file


def find_installation(name: str, path: Sequence[str] | None = None) -> Installation:
    """The distribution of a name that an import would take.

    Args:
        name: in any spelling (PEP 503).
        path: the site directories to look in, in their order; those of this process if None.

    Raises:
        UsageError: ``installed.unknown``; ``usage.arguments`` for an empty name.
        Refused: ``installed.unsupported`` for what no wheel was unpacked for; ``installed.ambiguous``.
    """
    wanted = normalised(name)
    if not wanted:  # which importlib.metadata takes for all of them
        raise UsageError("usage.arguments", "the name of a distribution is empty", expected="a name such as my-plugin")
    for found in _distributions(wanted, list(sys.path if path is None else path)):
        root = Path(str(found.locate_file("")))
        here = list(_in_directory(root, wanted))
        if len(here) == 1:
            return here[0]
        raise Refused(
            "installed.ambiguous" if here else "installed.unsupported",
            f"{wanted} is not installed as one wheel",
            found=", ".join(shown(one.dist_info) for one in here) or "no dist-info directory",
            expected="one dist-info directory",
        )
    raise UsageError("installed.unknown", f"no distribution named {wanted!a} is installed")


def installed_version(name: str) -> str | None:
    """The version of a distribution in this process's own environment, or None.

    What plugins bring is not the host's: one plugin does not provide for another, unless the host's own ``provided``
    says so.
    """
    found = next(_distributions(name, sys.path), None)
    return None if found is None else found.version


def all_installations(path: Sequence[str]) -> list[Installation]:
    """All distributions that wheels were unpacked for, each name once, as an import would take them; by name.

    Args:
        path: the site directories, in their order.
    """
    found: dict[str, Installation] = {}
    for directory in path:
        for one in _in_directory(Path(directory)):
            found.setdefault(one.name, one)
    return [found[name] for name in sorted(found)][:MAX_DISTRIBUTIONS]


def _distributions(name: str, path: list[str]) -> Iterator[Distribution]:
    """The distributions of a name that are no plugins of this process."""
    import importlib.metadata  # takes longer to be imported than a gate to be opened

    from verifier.importing.metadata import MemoryDistribution

    for found in importlib.metadata.distributions(name=name, path=path):
        if not isinstance(found, MemoryDistribution):
            yield found


def _in_directory(root: Path, wanted: str | None = None) -> Iterator[Installation]:
    """What the dist-info directories of a site directory are of, or those of one name; those whose names say nothing
    are left out.
    """
    try:
        names = sorted(name for name in os.listdir(root) if name.endswith(_SUFFIX))
    except OSError:
        return
    for name in names:
        project, _, version = name.removesuffix(_SUFFIX).partition("-")
        found = normalised(project)
        if found and wanted in (None, found):
            try:
                yield Installation(found, canonical(version), root, name)
            except ValueError:
                continue
