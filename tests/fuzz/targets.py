"""Every parser that reads what somebody else wrote, as a function of bytes; and what it starts from.

Seeds of the documented formats are their vectors; those of everything else are the files in ``corpus/<target>/``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from attestor.building import unpack, zip_headers
from attestor.checking import osv, waivers
from attestor.describing import manifest as written_manifest
from crl_server import settings
from crl_server.access import issuers
from crl_server.records import audit
from tests.fuzz import deployments
from tests.verifier.formats.vectors import PARSERS, VECTORS
from tests.wheels import contents_of
from verifier import shelves
from verifier.codes import CODES
from verifier.deployment.tuf_chain import root_keys
from verifier.errors import LoadlockError
from verifier.formats import acknowledgement, carried, layout, push, release, revocations, unattested
from verifier.hosting.settings import Settings
from verifier.importing import elf
from verifier.refreshing.poll import read_plain
from verifier.refreshing.push import announcements
from verifier.revocation import standing_rules
from verifier.signatures import identities, sigstore_root
from verifier.signatures.keys import PublicKey
from verifier.signatures.private_keys import PrivateKey
from verifier.wheels import archive, core_metadata, record, wheel

CORPUS = Path(__file__).resolve().parent / "corpus"
NOW = datetime(2026, 2, 1, tzinfo=UTC)
MAX_INPUT = 64 * 1024
"""How long, in bytes, what is fuzzed may become: caps have tests of their own."""

Parser = Callable[[bytes], object]


def _from_file(read: Callable[[Path], object]) -> Parser:
    """A reader of files as a function of their bytes."""

    def parse(data: bytes) -> object:
        with NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            Path(file.name).chmod(0o600)
            return read(Path(file.name))

    return parse


def _wheel(data: bytes) -> object:
    read = wheel.read_wheel(data, "sample_plugin-1.0-py3-none-any.whl")
    return read, zip_headers.read_entries(data)


def _sdist(data: bytes) -> object:
    with unpack.gunzip(data) as stream:
        return unpack.read_members(stream)


def _accepting(check: Callable[[bytes], None]) -> Parser:
    """A check that hands nothing back, as a function that says when it has accepted."""

    def parse(data: bytes) -> object:
        check(data)
        return True

    return parse


def _record(data: bytes) -> None:
    record.check_record(contents_of({"a.py": b"A = 1\n", "a-1.0.dist-info/RECORD": data}), "a-1.0.dist-info")


class _Lines:
    """A stream of server-sent events that has arrived whole."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def lines(self, limit: int) -> Iterable[bytes]:
        """Its lines, as the transport cuts them."""
        return (line[:limit] for line in self._data.splitlines())


def _stream(data: bytes) -> object:
    stream: Any = _Lines(data)
    return list(announcements(stream))


def _library(data: bytes) -> object:
    return elf.read_used(data, "a.so"), elf.read_dynamic(data, "a.so")


def _matches(data: bytes) -> object:
    return [standing_rules.parse_match(rule) for rule in revocations.parse_rules(data).rules]


TARGETS: dict[str, Parser] = {
    **PARSERS,
    "acknowledged": acknowledgement.parse_acknowledged,
    "acknowledgement": acknowledgement.parse_acknowledgement,
    "archive": archive.read_archive,
    "backup": deployments.read_backup,
    "carried-header": carried.parse_header,
    "carried-copy": deployments.read_copy,
    "audit-entry": audit.parse_entry,
    "certificate": identities.read_claims,
    "elf": _library,
    "file-name": lambda data: wheel.parse_file_name(data.decode("utf-8", "surrogateescape")),
    "host-identity": acknowledgement.parse_identity,
    "host-settings": _from_file(Settings.read),
    "identity": identities.parse_identity,
    "issuers": _from_file(issuers.read_issuers),
    "layout": layout.parse_layout,
    "link": layout.parse_link,
    "metadata": core_metadata.parse_metadata,
    "osv-database": _from_file(partial(osv.read_database, now=NOW)),
    "plain-answer": read_plain,
    "private-key": _from_file(PrivateKey.read),
    "public-key": PublicKey.from_spki,
    "push": push.parse_announcement,
    "push-stream": _stream,
    "rotation": deployments.read_rotation,
    "record": _accepting(_record),
    "release": release.parse_release,
    "rule-match": _matches,
    "sdist": _sdist,
    "settings": _from_file(settings.read_settings),
    "shelf": lambda data: shelves.records_of(memoryview(data)),
    "sigstore-root": _accepting(sigstore_root.check_trusted_root),
    "tuf-root": root_keys,
    "unattested": unattested.parse_report,
    "waivers": _from_file(waivers.read_waivers),
    "wheel": _wheel,
    "wheel-file": core_metadata.parse_wheel_file,
    "written-manifest": _from_file(written_manifest.read_manifest),
}


def seeds_of(target: str) -> list[bytes]:
    """What a target starts from: at least one input that it accepts."""
    files = sorted((CORPUS / target).glob("*")) if (CORPUS / target).is_dir() else []
    vectors = [vector.data for vector in VECTORS if vector.format == target]
    made = MADE[target]() if target in MADE else ()
    return [data for data in (*(path.read_bytes() for path in files), *vectors, *made) if len(data) <= MAX_INPUT]


def _keys() -> tuple[bytes, ...]:
    """Private keys, which are made anew because none belongs into a repository."""
    keys = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), ec.derive_private_key(1, ec.SECP256R1())
    return tuple(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for key in keys
    )


MADE: dict[str, Callable[[], Iterable[bytes]]] = {
    "private-key": _keys,
    "backup": lambda: [deployments.seeds().backup],
    "carried-copy": lambda: [deployments.seeds().copy],
    "rotation": lambda: deployments.seeds().rotations,
}
"""Seeds that are made anew in each process."""


def feed(target: str, data: bytes) -> object:
    """Give bytes to a target; hand back what it made of them, or None when it refused.

    Raises:
        AssertionError: it refused with a code that nobody knows, or in words that no terminal should print.
        Exception: whatever else it raised, which it must not.
    """
    try:
        return TARGETS[target](data)
    except LoadlockError as error:
        assert error.code in CODES, error.code
        assert str(error).replace("\n", "").isprintable(), repr(str(error))
        return None
