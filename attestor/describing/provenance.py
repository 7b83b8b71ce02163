"""The SLSA provenance of a build, as ``docs/spec/provenance.md`` specifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from packaging.utils import parse_sdist_filename

from attestor.building.build import BuildResult
from attestor.building.source import Source
from attestor.building.versions import version_of
from verifier.formats.statement import (
    BUILD_TYPE,
    BuildDefinition,
    Builder,
    BuildMetadata,
    ExternalParameters,
    Provenance,
    Resource,
    RunDetails,
)
from verifier.formats.text import Time

#: The builder on somebody's own machine; CI systems have ids of their own.
LOCAL_BUILDER = "https://loadlock.dev/builders/local"


def reproducibility(build: BuildResult) -> str:
    """What is known of it, in the words that the provenance uses."""
    return f"checked: bit-identical, {len(build.varied)} varied conditions" if build.varied else "not checked"


def make_provenance(
    build: BuildResult,
    *,
    builder_id: str,
    sbom: bytes | None = None,
    invocation_id: str = "",
    rebuild: Mapping[str, Any] | None = None,
) -> Provenance:
    """What the builder says of a build.

    Args:
        build: the build.
        builder_id: the URI of the builder.
        sbom: the exact bytes of the SBOM's predicate; None when none was made.
        invocation_id: the URI of the CI run; empty when there is none.
        rebuild: of a rebuild: which provenance it followed, and how alike the wheels are.
    """
    return Provenance(
        buildDefinition=BuildDefinition(
            buildType=BUILD_TYPE,
            externalParameters=ExternalParameters(
                repository=build.source.repository,
                ref=build.source.ref,
                subdirectory=build.source.subdirectory,
                sdist=build.source.purl,
                config_settings=dict(build.config_settings),
            ),
            internalParameters={
                "environment": dict(build.fixed.variables),
                "network": build.fixed.network,
                "platform": build.interpreter.platform,
                "processes": build.fixed.processes,
                "reproducibility": reproducibility(build),
                "umask": f"{build.fixed.umask:04o}",
                "zlib": build.interpreter.zlib,
                **({"rebuild": rebuild} if rebuild is not None else {}),
            },
            resolvedDependencies=_inputs(build),
        ),
        runDetails=RunDetails(
            builder=Builder(id=builder_id, version={"loadlock": version_of("loadlock"), "build": version_of("build")}),
            metadata=BuildMetadata(
                invocationId=invocation_id, startedOn=Time.of(build.started), finishedOn=Time.of(build.finished)
            ),
            byproducts=(
                Resource(name="log", digest={"sha256": hashlib.sha256(build.log).hexdigest()}),
                *(
                    (Resource(name="sbom", digest={"sha256": hashlib.sha256(sbom).hexdigest()}),)
                    if sbom is not None
                    else ()
                ),
                *((_sdist(build),) if build.sdist is not None else ()),
            ),
        ),
    )


def _inputs(build: BuildResult) -> tuple[Resource, ...]:
    python = build.interpreter
    return (
        _source(build.source),
        Resource(
            uri=f"pkg:generic/{python.implementation.lower()}@{python.version}",
            name="interpreter",
            digest={"sha256": python.sha256},
        ),
        *(
            Resource(uri=wheel.purl, name=wheel.file_name, digest={"sha256": wheel.sha256})
            for wheel in sorted(build.inputs)
        ),
    )


def _sdist(build: BuildResult) -> Resource:
    sdist = build.sdist
    if sdist is None:
        raise ValueError("no sdist was built")
    name, version = parse_sdist_filename(sdist.file_name)
    return Resource(
        name="sdist", uri=f"pkg:pypi/{name}@{version}", digest={"sha256": sdist.sha256},
        annotations={"reproducibility": sdist.reproducibility},
    )  # fmt: skip


def _source(source: Source) -> Resource:
    if source.kind == "sdist":
        return Resource(uri=source.purl, name="source", digest={"sha256": source.sha256})
    uri = f"git+{source.repository}" if source.repository else ""
    return Resource(uri=uri, name="source", digest={"gitCommit": source.commit, "gitTree": source.tree})
