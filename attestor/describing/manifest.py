"""The owner's declaration: found in the source, checked against the wheel, completed with what only the build knows."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attestor.building.source import Source, export
from attestor.describing.dependencies import Dependencies
from attestor.describing.unwritten import refuse_unwritten
from verifier.errors import FormatError, Refused
from verifier.files import read_capped
from verifier.formats import manifest as formats
from verifier.formats.manifest import FILE_NAME, MAX_MANIFEST, Dependency, Manifest, SignedManifest
from verifier.formats.strict_json import convert, loads
from verifier.formats.text import Digest, PluginId, Time, Version
from verifier.wheels.wheel import Snapshot

#: A pyproject.toml larger than this is not read.
MAX_PYPROJECT = 1_000_000


def manifest_in(source: Source) -> Manifest:
    """The manifest that the source itself holds, as it was committed.

    Raises:
        Refused: ``manifest.missing``, ``manifest.embedded-count`` when it is written down twice, ``source.*``.
        FormatError: any ``format.*`` code.
    """
    with TemporaryDirectory(prefix="loadlock-manifest-") as name:
        return manifest_of(export(source, Path(name)))


def manifest_of(directory: Path) -> Manifest:
    """The manifest of a project's directory: ``PLUGIN_MANIFEST.json``, or ``[tool.loadlock]`` in ``pyproject.toml``.

    Raises:
        Refused: ``manifest.missing``; ``manifest.embedded-count`` when both are there.
        FormatError: any ``format.*`` code.
    """
    document, table = directory / FILE_NAME, _tool_table(directory / "pyproject.toml")
    if document.is_file() and table is not None:
        raise Refused(
            "manifest.embedded-count",
            "the source declares itself twice",
            found=f"{FILE_NAME} and [tool.loadlock]",
            expected="one of the two",
            todo="Remove one of the two.",
        )
    if table is not None:
        return declared(table, "[tool.loadlock] in pyproject.toml")
    if not document.is_file():
        raise Refused(
            "manifest.missing",
            "the source holds no plugin manifest",
            expected=f"{FILE_NAME} or [tool.loadlock] in pyproject.toml, at the top of the project",
        )
    return read_manifest(document)


def read_manifest(path: Path) -> Manifest:
    """A manifest file, JSON or (by its ending) TOML.

    Raises:
        UsageError: it cannot be read.
        FormatError: any ``format.*`` code.
    """
    data = read_capped(path, MAX_MANIFEST, "the plugin manifest")
    if path.suffix == ".toml":
        return declared(_toml(data, path.name), path.name)
    return declared(loads(data, limit=MAX_MANIFEST, what=path.name), path.name)


def declared(value: Any, what: str) -> Manifest:
    """A manifest out of plain values, in which the owner has left nothing to be written.

    Raises:
        Refused: ``manifest.draft``.
        FormatError: any ``format.*`` code.
    """
    refuse_unwritten(value, what)
    return convert(value, Manifest, what=what)


def project_table(path: Path) -> dict[str, Any] | None:
    """The table ``[project]`` of a ``pyproject.toml``, None when there is none.

    Raises:
        UsageError: the file cannot be read; FormatError: it is not TOML.
    """
    table = _table(path, "project")
    return table if isinstance(table, dict) else None


def complete(
    manifest: Manifest,
    wheel: Snapshot,
    *,
    sbom_digest: Digest,
    built_by: str,
    built_at: datetime,
    source: Source | None,
    dependencies: Dependencies,
) -> SignedManifest:
    """The manifest as it is signed.

    Args:
        manifest: the owner's declaration.
        wheel: the wheel it is about.
        sbom_digest: of the exact bytes of the SBOM's predicate.
        built_by: the builder's id.
        built_at: when, aware.
        source: what was built; None when it was built elsewhere.
        dependencies: what the wheel needs at run time.

    Raises:
        Refused: ``manifest.plugin-id``, ``manifest.version``, ``manifest.entry-point``, ``manifest.expired``.
    """
    _check(manifest, wheel, built_at)
    return SignedManifest(
        **{field: getattr(manifest, field) for field in Manifest.__struct_fields__},
        artifact_digest=Digest(wheel.digest),
        record_digest=Digest(wheel.record_digest),
        sbom_digest=sbom_digest,
        built_by=built_by,
        built_at=Time.of(built_at),
        source=_source(source),
        dependencies=tuple(
            Dependency(
                name=found.wheel.name,
                version=Version(found.wheel.version),
                sha256=Digest(f"sha256:{found.wheel.sha256}"),
            )
            for found in dependencies.locked
        ),
    )


def _check(manifest: Manifest, wheel: Snapshot, now: datetime) -> None:
    """Refuse here what every host would refuse later."""
    expected = PluginId.of(wheel.name)
    if manifest.plugin_id != expected:
        raise Refused(
            "manifest.plugin-id", "the manifest is of another plugin", found=manifest.plugin_id, expected=expected,
            todo="Correct 'plugin_id' in the manifest: it is the project's name, in lower case, with underscores.",
        )  # fmt: skip
    if manifest.version != wheel.version:
        raise Refused(
            "manifest.version", "the manifest is of another version", found=manifest.version, expected=wheel.version,
            todo="Write one version into the manifest and the project, commit it, and attest again.",
        )  # fmt: skip
    if manifest.expires_at is not None and manifest.expires_at.instant <= now:
        raise Refused(
            "manifest.expired", "the manifest has expired", found=manifest.expires_at, expected="an end ahead of now",
            todo="Move 'expires_at' in the manifest, or leave it out; commit it, and attest again.",
        )  # fmt: skip
    for group, entries in manifest.entry_points.items():
        for name, reference in entries.items():
            top = reference.partition(":")[0].partition(".")[0]
            if top not in wheel.top_levels:
                raise Refused(
                    "manifest.entry-point",
                    f"the entry point {group}:{name} is not in the wheel",
                    found=repr(top),
                    expected=f"one of {', '.join(sorted(wheel.top_levels))}",
                    todo="Correct entry_points in the manifest.",
                )


def _source(source: Source | None) -> formats.Source:
    if source is None:
        return formats.Source()
    return formats.Source(
        repository=source.repository,
        commit=source.commit or None,
        sdist=Digest(f"sha256:{source.sha256}") if source.sha256 else None,
    )


def _tool_table(path: Path) -> Any | None:
    tool = _table(path, "tool")
    return tool.get("loadlock") if isinstance(tool, dict) else None


def _table(path: Path, name: str) -> Any | None:
    if not path.is_file():
        return None
    return _toml(read_capped(path, MAX_PYPROJECT, "pyproject.toml"), "pyproject.toml").get(name)


def _toml(data: bytes, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError("format.encoding", f"{what} is not UTF-8", found=f"byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("format.syntax", f"{what} is not TOML", found=str(error)) from error
