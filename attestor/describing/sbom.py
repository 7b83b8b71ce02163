"""The CycloneDX document of a wheel: what it is, what it needs, who needs whom, and what it was built with.

The same wheel from the same environment, with the same dependencies, gives the same bytes: the serial number follows
from the wheel's digest, the time is the build's, and nothing is said about where anything was downloaded.

A second document, without anything that only the finished wheel could say, is what a wheel may embed (PEP 770).
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from attestor.building.build import BuildResult
from attestor.building.versions import version_of
from attestor.describing.declared import declared_licences
from attestor.describing.dependencies import Dependencies, HostDependency, LockedDependency
from attestor.describing.formulation import formulation
from attestor.describing.vendored import PATH, PROVIDED_BY, WHEEL, Vendored, vendored
from attestor.late_grammar import late_grammar
from verifier.errors import Refused, UsageError
from verifier.wheels.wheel import Snapshot

if TYPE_CHECKING:
    from cyclonedx.model.bom import BomMetaData
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

#: Another name of our properties (CycloneDX property taxonomy: a namespace, a colon, a name).
REQUIREMENT = "loadlock:requirement"


Version = Literal["1.6", "1.7"]
"""The versions of CycloneDX that can be written."""


def make_sbom(
    wheel: Snapshot,
    dependencies: Dependencies,
    *,
    timestamp: datetime,
    version: Version = "1.6",
    build: BuildResult | None = None,
) -> bytes:
    """The SBOM of ``wheel`` as CycloneDX JSON, checked against the standard's own strict schema.

    Args:
        wheel: what the document describes.
        dependencies: its locked and host-provided dependencies.
        timestamp: the time the document bears, aware; of a build, its SOURCE_DATE_EPOCH.
        version: of CycloneDX.
        build: the build, whose environment the document gives as formulation; None when it was built elsewhere.

    Raises:
        Refused: ``format.schema``: the wheel's metadata cannot be said in CycloneDX; ``wheel.metadata``: that of a
            distribution inside it.
        UsageError: ``usage.extra``.
    """
    _require_cyclonedx()
    from cyclonedx.model.bom import BomMetaData
    from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle

    root = _component(wheel.name, wheel.version, wheel.digest.removeprefix("sha256:"), declared_licences(wheel))
    root.components.update(map(_inside, vendored(wheel)))
    metadata = BomMetaData(
        component=root, timestamp=timestamp, lifecycles=[PredefinedLifecycle(phase=LifecyclePhase.BUILD)]
    )
    for tool in ("loadlock", "cyclonedx-python-lib"):
        metadata.tools.components.add(_tool(tool))
    document = _document(metadata, dependencies, version)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, wheel.digest).urn
    # Whether there is more in it (code that was copied without metadata, libraries) nobody can tell.
    document["compositions"] = [{"aggregate": "unknown", "assemblies": [document["metadata"]["component"]["bom-ref"]]}]
    if build is not None:
        document["formulation"] = formulation(build)
    return _checked(json.dumps(document), version)


def make_embedded_sbom(wheel: Snapshot, dependencies: Dependencies, *, version: Version = "1.6") -> bytes:
    """The SBOM of the dependencies of ``wheel``, to be embedded into it: what is known before it is built.

    It holds neither the wheel's digest nor a time nor the versions of tools, so that it changes only when the
    dependencies do; indented, since it is kept beside the source.

    Args and raises: as :func:`make_sbom`.
    """
    _require_cyclonedx()
    from cyclonedx.model.bom import BomMetaData

    root = _component(wheel.name, wheel.version, "", declared_licences(wheel))
    document = _document(BomMetaData(component=root), dependencies, version)
    for variable in ("serialNumber", "timestamp"):
        document.pop(variable, None)
        document["metadata"].pop(variable, None)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True)).urn
    return _checked(json.dumps(document, indent=2) + "\n", version)


def _require_cyclonedx() -> None:
    try:
        with late_grammar():
            import cyclonedx.validation.json  # noqa: F401 - to be told apart from what is wrong with a document
    except ImportError as error:
        raise UsageError("usage.extra", "SBOMs need cyclonedx", expected="the extra loadlock[attestor]") from error


def _checked(text: str, version: Version) -> bytes:
    """The document, if the strict schema has nothing against it.

    Raises:
        Refused: ``format.schema``.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text)
    if problem is not None:
        raise Refused("format.schema", f"the SBOM is not valid CycloneDX {version}", found=str(problem)[:500])
    return text.encode()


def _document(metadata: BomMetaData, dependencies: Dependencies, version: Version) -> dict[str, Any]:
    """Components and graph, as JSON values. The library that writes them knows no formulation, and would drop one."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    root = metadata.component
    if root is None:
        raise ValueError("metadata without a component")
    parts = {found.wheel.name: _locked(found) for found in dependencies.locked}
    parts |= {found.name: _host(found) for found in dependencies.host}
    bom = Bom(version=1, metadata=metadata, components=parts.values())
    bom.register_dependency(root, [parts[name] for name in _needed_by_the_wheel(dependencies) if name in parts])
    for found in dependencies.locked:
        bom.register_dependency(parts[found.wheel.name], [parts[name] for name in found.requires if name in parts])
    bom.validate()
    document: dict[str, Any] = json.loads(
        make_outputter(bom, OutputFormat.JSON, SchemaVersion.from_version(version)).output_as_string()
    )
    return document


def _needed_by_the_wheel(dependencies: Dependencies) -> list[str]:
    """What the wheel requires, and what only its manifest wants of the host, which nobody else in the graph needs."""
    asked_for = {*dependencies.direct, *(name for found in dependencies.locked for name in found.requires)}
    return [*dependencies.direct, *(found.name for found in dependencies.host if found.name not in asked_for)]


def _locked(found: LockedDependency) -> Component:
    return _component(found.wheel.name, found.wheel.version, found.wheel.sha256, found.licences)


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


def _component(name: str, version: str, sha256: str, licences: tuple[str, ...]) -> Component:
    """One exact wheel: its hash is the component's own, since the component is that file and nothing else."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.serialization import PackageUrl

    purl = f"pkg:pypi/{name}@{version}"
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=purl,
        purl=PackageUrl.deserialize(purl),
        scope=ComponentScope.REQUIRED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else None,
        licenses=_licences(licences),
    )


def _inside(found: Vendored) -> Component:
    """What lies inside the wheel: by its place, since it may be a dependency as well; and no file of its own."""
    from cyclonedx.model import Property

    component = _component(found.name, found.version, "", found.licences)
    component.bom_ref.value = f"vendored:{found.place}"
    component.scope = None
    component.properties = [Property(name=PATH, value=found.place), Property(name=PROVIDED_BY, value=WHEEL)]
    return component


def _licences(declared: tuple[str, ...]) -> list[License] | None:
    """Licences in CycloneDX's terms: an SPDX expression, or licences by id where SPDX has one, else by name."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    factory = LicenseFactory()
    if len(declared) == 1:
        return [factory.make_from_string(declared[0])]
    return [factory.make_with_name(text) for text in declared] or None


def _tool(name: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    return Component(type=ComponentType.APPLICATION, name=name, version=version_of(name), bom_ref=f"tool:{name}")
