"""Fetching what verification needs of what is installed: the wheels of a release, their RECORDs and attestation sets.

Like :mod:`verifier.refreshing.refresh`, this is the network's side; nothing that loads a plugin comes through it. What
is fetched is read for its form only, or compared with the digest that it is asked for by; verification judges it, each
time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from verifier.deployment.home import Home
from verifier.errors import Refused, Unreachable
from verifier.files import write_atomic
from verifier.formats.policy import Policy
from verifier.formats.release import MAX_RELEASE, Release, parse_release, release_key
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex, PluginId
from verifier.installed.installations import Installation
from verifier.refreshing.sets import fetch_set
from verifier.refreshing.source import Source
from verifier.refreshing.transport import Transport
from verifier.value import Value
from verifier.wheels.record import MAX_RECORD_BYTES


class Fetched(Value, frozen=True):
    """What became of one installation: ``fetched``; ``none`` when the server knows no such release, or has no set of
    it; ``editable`` when it is the source itself; ``refused`` when what the server has is not acceptable.
    """

    installation: Installation
    outcome: Literal["fetched", "none", "editable", "refused"]
    wheels: int = 0
    reason: str = ""


def of_the_policy(installations: Iterable[Installation], policy: Policy) -> list[Installation]:
    """Those that the policy knows as plugins."""
    return [one for one in installations if _id_of(one.name) in policy.plugins]


def fetch_for(home: Home, installations: Sequence[Installation], source: Source | None = None) -> list[Fetched]:
    """Fetch what verification needs of installations, from the host's server or from ``source``; one that fails does
    not keep the others from theirs.

    Raises:
        Unreachable: ``unreachable.server``, ``io.failed``.
    """
    asked = source or Transport(home.host.server)
    return [_fetch_one(home, asked, one) for one in installations]


def _fetch_one(home: Home, source: Source, installation: Installation) -> Fetched:
    if installation.is_editable:
        return Fetched(installation, "editable", reason="its source is installed, which nobody can attest")
    try:
        release = _fetch_release(home, source, installation)
        if release is None:
            return Fetched(installation, "none", reason="the server knows no such release")
        wheels = [wheel for wheel in release.wheels if installation.may_be(wheel.file)]
        for wheel in wheels:
            _fetch_record(home, source, Hex(wheel.record.hex))
            fetch_set(home, wheel.digest.hex, source)
    except Refused as refusal:
        outcome: Literal["none", "refused"] = "none" if refusal.code == "set.missing" else "refused"
        return Fetched(installation, outcome, reason=f"[{refusal.code}] {refusal.what}")
    if not wheels:
        return Fetched(installation, "none", reason="the server knows other wheels of this release alone")
    return Fetched(installation, "fetched", len(wheels))


def _fetch_release(home: Home, source: Source, installation: Installation) -> Release | None:
    key = release_key(installation.name, installation.version)
    data = _get(source, f"/releases/{key}.json", MAX_RELEASE)
    if data is None:
        return None
    release = parse_release(data)
    if (release.name, str(release.version)) != (installation.name, installation.version):
        raise Refused(
            "server.refused",
            "the server answered with another release",
            found=f"{release.name!a} {release.version}",
            expected=f"{installation.name} {installation.version}",
        )
    write_atomic(home.release_path(installation.name, installation.version), data)
    return release


def _fetch_record(home: Home, source: Source, digest: Hex) -> None:
    """Fetch a RECORD, unless it is here; its name is its digest."""
    place = home.record_path(digest)
    if os.path.isfile(place):
        return
    data = _get(source, f"/records/{digest}", MAX_RECORD_BYTES)
    if data is None or sha256_hex(data) != digest:
        found = "nothing" if data is None else f"sha256:{sha256_hex(data)}"
        raise Refused("server.refused", "the server has no such RECORD", found=found, expected=f"sha256:{digest}")
    write_atomic(place, data)


def _get(source: Source, path: str, limit: int) -> bytes | None:
    """A file; None when the server has none."""
    response = source.request(path, limit)
    if response.status == 404:
        return None
    if response.status != 200:
        raise Unreachable("unreachable.server", f"the server did not hand out {path}", found=f"{response.status}")
    return response.body


def _id_of(name: str) -> PluginId | None:
    try:
        return PluginId.of(name)
    except ValueError:
        return None
