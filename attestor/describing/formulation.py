"""How a wheel was formed, in CycloneDX's words: the build environment as a formula with one workflow.

CycloneDX 1.6 and 1.7, "formulation". The provenance says the same, and is what a rebuild goes by; this is for those who
read SBOMs. What is listed here took part in the build and is no part of the wheel.
"""

from __future__ import annotations

from typing import Any

from attestor.building.build import BuildResult
from attestor.building.wheelhouse import LockedWheel

#: What our names in the document begin with, so that none is that of a component of the wheel.
BUILD = "build:"


def formulation(build: BuildResult) -> list[dict[str, Any]]:
    """The formulation of a build, as JSON values.

    Args:
        build: the build.
    """
    tools = [_interpreter(build), *(_wheel(wheel) for wheel in sorted(build.inputs))]
    settings = {
        "loadlock:platform": build.interpreter.platform,
        "loadlock:zlib": build.interpreter.zlib,
        "loadlock:network": build.fixed.network,
        "loadlock:umask": f"{build.fixed.umask:04o}",
        **{f"loadlock:environment:{name}": value for name, value in sorted(build.fixed.variables.items())},
    }
    workflow = {
        "bom-ref": f"{BUILD}workflow",
        "uid": f"{BUILD}{build.file_name}",
        "name": "build of the wheel",
        "resourceReferences": [{"ref": tool["bom-ref"]} for tool in tools],
        "taskTypes": ["build"],
    }
    return [
        {
            "bom-ref": f"{BUILD}environment",
            "components": tools,
            "workflows": [workflow],
            "properties": [{"name": name, "value": value} for name, value in settings.items()],
        }
    ]


def _interpreter(build: BuildResult) -> dict[str, Any]:
    python = build.interpreter
    name = python.implementation.lower()
    return {
        "type": "platform",
        "bom-ref": f"{BUILD}interpreter",
        "name": name,
        "version": python.version,
        "purl": f"pkg:generic/{name}@{python.version}",
        "hashes": [{"alg": "SHA-256", "content": python.sha256}],
    }


def _wheel(wheel: LockedWheel) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"{BUILD}{wheel.purl}",
        "name": wheel.name,
        "version": wheel.version,
        "purl": wheel.purl,
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
    }
