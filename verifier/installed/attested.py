"""What the host has fetched about the wheels that an installation may be of, and the choice of the one that it is.

``loadlock host sync`` puts it into the host's directory; nothing is fetched when a plugin is loaded. The choice decides
nothing: whatever is chosen has to verify, and a wrong one is refused for the files that differ.
"""

from __future__ import annotations

import os

from verifier.deployment.home import Home
from verifier.errors import Refused
from verifier.files import read_capped
from verifier.formats.dsse import MAX_SET
from verifier.formats.manifest import SignedManifest
from verifier.formats.release import MAX_RELEASE, ReleasedWheel, parse_release
from verifier.formats.text import Digest
from verifier.importing.modules import Modules
from verifier.installed.content import InstalledFiles, check_all, read_installed
from verifier.installed.extras import check_extras
from verifier.installed.installations import Installation
from verifier.judging.verify import Candidate
from verifier.value import Value
from verifier.wheels.record import MAX_RECORD_BYTES
from verifier.wheels.snapshot import Snapshot


class Attested(Value, frozen=True):
    """A wheel that an installation may be of: what the registry says of it, its RECORD, and its attestation set."""

    wheel: ReleasedWheel
    record: bytes
    attestations: bytes | None


def attested_for(home: Home, installation: Installation) -> Attested:
    """The wheel that an installation is of, by its metadata and, where several have the same, by all its files.

    Raises:
        Refused: ``installed.editable``; ``set.missing`` when nothing was fetched for that name and version;
            ``format.*`` for a damaged file.
        UsageError: ``io.failed``.
    """
    if installation.is_editable:
        raise Refused("installed.editable", f"{installation.name} is installed as its source")
    found = candidates(home, installation)
    if not found:
        raise Refused(
            "set.missing",
            f"nothing is known here of {installation.name} {installation.version}",
            expected="its attestation set and RECORD, fetched from the server",
            todo="Run 'loadlock host sync' in the plugin's environment; if the server has none, ask the owner.",
        )
    fitting = [one for one in found if _fits(one, installation)] or found
    if len(fitting) > 1:
        return next((one for one in fitting if _matches(one, installation)), fitting[0])
    return fitting[0]


def candidates(home: Home, installation: Installation) -> list[Attested]:
    """All wheels of that name and version that the host knows the RECORD of."""
    place = home.release_path(installation.name, installation.version)
    if not os.path.isfile(place):
        return []
    release = parse_release(read_capped(place, MAX_RELEASE, "release"))
    found = []
    for wheel in release.wheels:
        record, attestations = home.record_path(wheel.record.hex), home.set_path(wheel.digest.hex)
        if os.path.isfile(record):
            data = read_capped(attestations, MAX_SET, "attestation set") if os.path.isfile(attestations) else None
            found.append(Attested(wheel, read_capped(record, MAX_RECORD_BYTES, "RECORD"), data))
    return found


def candidate_of(installation: Installation, chosen: Attested, *, thorough: bool) -> Candidate:
    """What is to be verified.

    Args:
        installation: where its files lie.
        chosen: which wheel they are to be of.
        thorough: whether each file is read now, and not only when it is used.
    """

    def open_files(manifest: SignedManifest | None) -> Snapshot:
        digest = Digest.of(chosen.record)
        if manifest is None or digest != manifest.record_digest:
            expected = "" if manifest is None else manifest.record_digest
            raise Refused("manifest.record", "the manifest pins another RECORD", found=digest, expected=expected)
        root, name = str(installation.root), chosen.wheel.file
        snapshot = read_installed(root, chosen.record, installation.dist_info, name, chosen.wheel.digest)
        check_extras(Modules(snapshot))
        if thorough:
            check_all(snapshot.files)
        return snapshot

    what = f"{installation.name} {installation.version} as installed"
    return Candidate(chosen.wheel.file, "installed", lambda: (chosen.wheel.digest, what), open_files)


def _fits(one: Attested, installation: Installation) -> bool:
    """Whether the metadata that is installed is this wheel's."""
    try:
        files = InstalledFiles(str(installation.root), one.record, installation.dist_info)
        for name in ("METADATA", "WHEEL"):
            files[f"{installation.dist_info}/{name}"]
    except (Refused, KeyError):
        return False
    return True


def _matches(one: Attested, installation: Installation) -> bool:
    """Whether all files that are installed are this wheel's."""
    try:
        check_all(InstalledFiles(str(installation.root), one.record, installation.dist_info))
    except Refused:
        return False
    return True
