"""What was observed, held against what the signed manifest declares. Pure: no state, no network, no clock.

A finding is no refusal: what a plugin did is done. Specified in ``docs/spec/observation.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any, Final, Literal

from verifier.formats.manifest import Capability, Egress, SignedManifest
from verifier.runtime.observed import Observed, Record
from verifier.value import Value

Verdict = Literal["declared", "undeclared", "unattributed"]

_CAPABILITIES: Final[dict[str, Capability]] = {"process": "subprocess", "library": "native-code"}
_UDP: Final = frozenset({"udp"})


class Finding(Value, frozen=True):
    """What one record means.

    Attributes:
        verdict: ``declared``; ``undeclared``; ``unattributed``: nobody knows whose it was.
        record: what was observed.
        why: in words.
    """

    verdict: Verdict
    record: Record
    why: str

    @property
    def document(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        return {"verdict": self.verdict, "why": self.why, "record": self.record.document}


def against(observed: Observed, manifest: SignedManifest) -> tuple[Finding, ...]:
    """What was observed of the plugin that a manifest is about, held against that manifest. What is another plugin's is
    left out.

    Args:
        observed: of one of its runs, or of the process.
        manifest: the signed one that it was loaded on.
    """
    mine = (manifest.plugin_id, manifest.artifact_digest)
    own = [record for record in observed.records if (record.whose.plugin_id, record.whose.artifact_digest) == mine]
    names = tuple(record for record in own if record.event.kind == "resolve")
    found = []
    for record in observed.records:
        if record.whose.how == "nobody":
            found.append(Finding("unattributed", record, "no frame, run or thread of a plugin was there"))
        elif (record.whose.plugin_id, record.whose.artifact_digest) == mine:
            found.append(_judged(record, manifest, names))
    return tuple(found)


def _judged(record: Record, manifest: SignedManifest, names: Collection[Record]) -> Finding:
    event = record.event
    capability = _CAPABILITIES.get(event.kind)
    if capability is not None:
        if any(declared.name == capability for declared in manifest.capabilities):
            return Finding("declared", record, f"the capability {capability!r}")
        return Finding("undeclared", record, f"the manifest does not declare the capability {capability!r}")
    egress = _covering(record, manifest.allowed_egress)
    if egress is not None:
        return Finding("declared", record, f"allowed_egress names {egress.host}")
    if event.kind in ("connect", "send") and _is_address(event.target):
        for name in names:
            egress = _covering(name, _on(record, manifest.allowed_egress))
            if egress is not None:  # what a name leads to, no audit event tells
                return Finding("declared", record, f"taken for {name.event.target}, which the run looked up")
    return Finding("undeclared", record, "allowed_egress names no such host, port and scheme")


def _covering(record: Record, allowed: Iterable[Egress]) -> Egress | None:
    """What of the manifest covers a destination as it was named."""
    host = _ascii(record.event.target)
    for egress in _on(record, allowed):
        if egress.host.covers(host):
            return egress
    return None


def _on(record: Record, allowed: Iterable[Egress]) -> Iterable[Egress]:
    """What of the manifest fits the port, the transport and the scheme of a record, as far as those are known."""
    event = record.event
    for egress in allowed:
        if event.transport in ("unix", "other") or (event.port is not None and event.port not in egress.ports):
            continue
        schemes = frozenset(egress.schemes)
        if event.scheme and event.scheme not in schemes:
            continue
        if event.transport and not (schemes & _UDP if event.transport == "udp" else schemes - _UDP):
            continue
        yield egress


def _ascii(host: str) -> str:
    """A host as manifests spell it; what has no such spelling is covered by nothing."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
