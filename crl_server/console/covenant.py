"""What a plugin declares, in words that security staff can weigh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from verifier.formats.manifest import Capability, Classification, Egress, Isolation, Limits, SignedManifest
from verifier.formats.text import Duration

CAPABILITIES: Mapping[Capability, str] = {
    "network": "talks to other machines",
    "file-read": "reads files",
    "file-write": "writes files",
    "environment": "reads environment variables",
    "configuration": "reads the host's configuration",
    "cache": "keeps data between calls",
    "logging": "writes to the host's log",
    "metrics": "reports figures",
    "subprocess": "starts other programs",
    "native-code": "runs machine code that nothing in Python can watch",
}
WEIGHTY: frozenset[Capability] = frozenset({"file-write", "native-code", "network", "subprocess"})
"""Capabilities that a reviewer should not overlook."""
ISOLATIONS: Mapping[Isolation, str] = {
    "in-process": "accepts to run inside the host's process",
    "process": "asks for a process of its own, or stronger",
    "sandbox": "asks for a sandbox",
}
CLASSIFIED: Mapping[Classification, str] = {
    "public": "public data only",
    "internal": "data up to internal",
    "official": "data up to official",
    "confidential": "data up to confidential",
    "secret": "data up to secret",
}


class Allowed(NamedTuple):
    """A capability: its name, what it means, why the owner says it is needed, and whether it weighs much."""

    name: str
    meaning: str
    rationale: str
    weighty: bool


class Destination(NamedTuple):
    """A destination: the host as declared, what that means, and how it is reached."""

    host: str
    meaning: str
    way: str


def capabilities(manifest: SignedManifest) -> Sequence[Allowed]:
    """The capabilities a plugin declares, the weighty ones first."""
    found = [
        Allowed(entry.name, CAPABILITIES[entry.name], entry.rationale, entry.name in WEIGHTY)
        for entry in manifest.capabilities
    ]
    return sorted(found, key=lambda entry: (not entry.weighty, entry.name))


def destinations(manifest: SignedManifest) -> Sequence[Destination]:
    """Where a plugin may connect to."""
    return [_destination(entry) for entry in manifest.allowed_egress]


def _destination(entry: Egress) -> Destination:
    inside = f"every host below {entry.host[2:]}" if entry.host.startswith("*.") else "this host alone"
    ports = ", ".join(map(str, entry.ports))
    way = f"{' or '.join(entry.schemes)}, port{'' if len(entry.ports) == 1 else 's'} {ports}"
    return Destination(entry.host, inside, way)


def limits(declared: Limits) -> Sequence[tuple[str, str]]:
    """What a plugin needs at most, each with its name."""
    stated = (
        ("Memory", declared.memory_mib, "MiB"),
        ("Time of a call", declared.execution_seconds, "s"),
        ("Requests of a call", declared.network_requests, ""),
        ("Size of a file", declared.file_mib, "MiB"),
        ("Requests a minute", declared.requests_per_minute, ""),
    )
    return [(name, f"at most {value} {unit}".rstrip()) for name, value, unit in stated if value is not None]


def _span(duration: Duration) -> str:
    """A length of time in words."""
    days, rest = divmod(int(duration.span.total_seconds()), 86_400)
    parts = ((days, "day"), (rest // 3600, "hour"), (rest % 3600 // 60, "minute"), (rest % 60, "second"))
    return ", ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count) or "no time"


def data(manifest: SignedManifest) -> Sequence[tuple[str, str]]:
    """What a plugin does with data, each with its name."""
    stated = [
        ("Classification", CLASSIFIED[manifest.max_classification]),
        ("Classes of data", ", ".join(manifest.data_classes) or "none declared"),
        ("Kept for", "not declared" if manifest.retention is None else _span(manifest.retention)),
        ("Redacted", ", ".join(manifest.redaction) or "nothing declared"),
        ("Secrets it uses", ", ".join(manifest.secrets) or "none"),
        ("Paths it uses", ", ".join(manifest.allowed_paths) or "none"),
        ("Packages it may bring", ", ".join(manifest.sdk_allowlist) or "none"),
        ("Needs of the host", ", ".join(manifest.host_provided) or "nothing"),
        ("Isolation", ISOLATIONS[manifest.isolation]),
    ]
    return stated + ([("Network", "can do without any")] if manifest.hermetic_compatible else [])
