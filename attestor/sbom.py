"""The CycloneDX document of a wheel: what it is, what it needs, who needs whom.

The same wheel with the same dependencies gives the same bytes: the serial number follows from the wheel's digest, the
time is the build's, and nothing is said about where anything was downloaded.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from attestor.dependencies import Dependencies, HostDependency, LockedDependency
from attestor.versions import version_of
from verifier.errors import Refused, UsageError
from verifier.wheel import Snapshot

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

#: Names of our properties (CycloneDX property taxonomy: a namespace, a colon, a name).
PROVIDED_BY = "loadlock:provided-by"
REQUIREMENT = "loadlock:requirement"


def make_sbom(wheel: Snapshot, dependencies: Dependencies, *, timestamp: datetime) -> bytes:
    """The SBOM of ``wheel`` as CycloneDX 1.6 JSON, checked against the standard's own schema.

    Args:
        wheel: what the document describes.
        dependencies: its locked and host-provided dependencies.
        timestamp: the time the document bears, aware; of a build, its SOURCE_DATE_EPOCH.

    Raises:
        Refused: ``format.schema``: the wheel's metadata cannot be said in CycloneDX.
        UsageError: ``usage.extra``.
    """
    try:
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError as error:
        raise UsageError("usage.extra", "SBOMs need cyclonedx", expected="the extra loadlock[attestor]") from error
    bom = _bom(wheel, dependencies, timestamp)
    bom.validate()
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise Refused("format.schema", "the SBOM is not valid CycloneDX 1.6", found=str(problem)[:500])
    return text.encode()


def _bom(wheel: Snapshot, dependencies: Dependencies, timestamp: datetime) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle

    root = _component(
        wheel.name, wheel.version, wheel.digest.removeprefix("sha256:"), wheel.metadata.license_expression
    )
    parts = {found.wheel.name: _locked(found) for found in dependencies.locked}
    parts |= {found.name: _host(found) for found in dependencies.host}
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, wheel.digest),
        version=1,
        metadata=BomMetaData(
            component=root,
            timestamp=timestamp,
            lifecycles=[PredefinedLifecycle(phase=LifecyclePhase.BUILD)],
        ),
        components=parts.values(),
    )
    for tool in ("loadlock", "cyclonedx-python-lib"):
        bom.metadata.tools.components.add(_tool(tool))
    bom.register_dependency(root, [parts[name] for name in dependencies.direct if name in parts])
    for found in dependencies.locked:
        bom.register_dependency(parts[found.wheel.name], [parts[name] for name in found.requires if name in parts])
    return bom


def _locked(found: LockedDependency) -> Component:
    return _component(found.wheel.name, found.wheel.version, found.wheel.sha256, found.license_expression)


def _host(found: HostDependency) -> Component:
    """A component without a version: which one runs is the host's business, within what the plugin can live with."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.serialization import PackageUrl

    return Component(
        type=ComponentType.LIBRARY,
        name=found.name,
        bom_ref=f"pkg:pypi/{found.name}",
        purl=PackageUrl.deserialize(f"pkg:pypi/{found.name}"),
        scope=ComponentScope.REQUIRED,
        properties=[
            Property(name=PROVIDED_BY, value="host"),
            Property(name=REQUIREMENT, value=found.specifier or "any"),
        ],
    )


def _component(name: str, version: str, sha256: str, license_expression: str) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.model.license import LicenseExpression
    from cyclonedx.serialization import PackageUrl

    purl = f"pkg:pypi/{name}@{version}"
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=purl,
        purl=PackageUrl.deserialize(purl),
        scope=ComponentScope.REQUIRED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        licenses=[LicenseExpression(license_expression)] if license_expression else None,
    )


def _tool(name: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(type=ComponentType.APPLICATION, name=name, version=version_of(name), bom_ref=f"tool:{name}")
