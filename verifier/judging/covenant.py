"""A manifest in plain words, for whoever is about to put a name to it."""

from __future__ import annotations

from verifier.formats.findings import TestResult, Vulnerabilities
from verifier.formats.manifest import SignedManifest
from verifier.judging.findings import Findings


def readable(manifest: SignedManifest) -> list[str]:
    """What the manifest declares, line by line; what it does not declare is said too, since that is not allowed.

    The format has seen to it that no text of the owner's can steer a terminal.
    """
    lines = [
        f"{manifest.plugin_id} {manifest.version} ({manifest.kind}, {manifest.maturity}): {manifest.description}",
        f"  owner          {manifest.owner}",
        f"  wheel          {manifest.artifact_digest}",
        f"  source         {_source(manifest)}",
        f"  built by       {manifest.built_by}",
        f"  host API       {manifest.api_version}",
    ]
    lines += _listed(
        "entry points", [f"{g}:{n} = {o}" for g, names in manifest.entry_points.items() for n, o in names.items()]
    )
    lines += _listed("may use", [f"{c.name}: {c.rationale}" for c in manifest.capabilities])
    lines += _listed(
        "may talk to",
        [f"{e.host} ({', '.join(e.schemes)}; {', '.join(map(str, e.ports))})" for e in manifest.allowed_egress],
    )
    lines += _listed("may touch", list(manifest.allowed_paths))
    lines += _listed("secrets", list(manifest.secrets))
    lines += _listed(
        "data", [f"{', '.join(manifest.data_classes) or 'no class named'}, up to {manifest.max_classification}"]
    )
    lines += _listed("keeps data", [manifest.retention] if manifest.retention else [])
    lines += _listed("removes first", list(manifest.redaction))
    lines += _listed("SDKs", list(manifest.sdk_allowlist))
    lines += _listed("from the host", list(manifest.host_provided))
    lines += _listed("brings along", [f"{d.name} {d.version} {d.sha256}" for d in manifest.dependencies])
    lines += _listed("hooks", list(manifest.hooks))
    figures = {name: getattr(manifest.limits, name) for name in manifest.limits.__struct_fields__}
    lines += _listed("at most", [f"{name} {value}" for name, value in figures.items() if value is not None])
    lines += _listed(
        "isolation",
        [f"{manifest.isolation} or stronger; {'hermetic' if manifest.hermetic_compatible else 'not hermetic'}"],
    )
    if manifest.expires_at is not None:
        lines += _listed("expires", [manifest.expires_at])
    return lines


def found_out(findings: Findings) -> list[str]:
    """What the builder found, line by line: what is known, what nobody knows, and what is waived."""
    return [*_audited(findings.audit), *_checked(findings.result)]


def _audited(audit: Vulnerabilities | None) -> list[str]:
    if audit is None:
        return _listed("vulnerable", ["unknown: there is no audit of vulnerabilities"])
    known = [f"{found.purl}: {found.id}, {found.rating}" for found in audit.scanner.result]
    unknown = [
        f"{entry.name} {entry.version or '(from the host)'}: {entry.reason}"
        for entry in audit.audit.dependencies
        if entry.outcome == "not-audited"
    ]
    source, started = audit.scanner.db, audit.metadata.scanStartedOn
    many = "" if audit.audit.advisories is None else f"{audit.audit.advisories} advisories, "
    return [
        *_listed("vulnerable", known or ["nothing of which that is known"]),
        *_listed("not audited", unknown),
        *_listed("audited", [f"at {started}: {many}the newest of {source.lastUpdate}"]),
    ]


def _checked(result: TestResult | None) -> list[str]:
    if result is None:
        return _listed("checked", ["unknown: there is no release checklist"])
    lines = []
    for check in result.checklist.checks:
        parts = [check.reason, f"{check.suppressed} more taken out by comments" if check.suppressed else ""]
        if check.waiver is not None:
            parts.append(f"until {check.waiver.expires}: {check.waiver.reason}")
        lines.append("; ".join([f"{check.name} {check.result}", *(part for part in parts if part)]))
    return _listed("checked", lines)


def _listed(title: str, items: list[str]) -> list[str]:
    first, *rest = items or ["nothing"]
    return [f"  {title:<15}{first}", *(f"  {'':<15}{item}" for item in rest)]


def _source(manifest: SignedManifest) -> str:
    source = manifest.source
    if source.commit:
        return f"{source.repository or 'a repository without an address'} at {source.commit}"
    return f"sdist {source.sdist}" if source.sdist else "unknown: it was built elsewhere"
