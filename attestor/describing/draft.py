"""A manifest drafted from the code: what analysis sees is filled in, what only the owner knows is left to be written.

A draft is no declaration. Wherever the owner's word is needed it holds :data:`attestor.describing.unwritten.UNWRITTEN`,
and nothing that holds it is attested or endorsed.
"""

from __future__ import annotations

from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from attestor.describing.analysis import Analysis, Place
from attestor.describing.code import Code
from attestor.describing.unwritten import UNWRITTEN
from verifier.formats.text import PluginId

SHOWN = 3
"""How many places a rationale names."""
MATURITIES = {
    "Development Status :: 4 - Beta": "beta",
    "Development Status :: 5 - Production/Stable": "stable",
    "Development Status :: 6 - Mature": "stable",
    "Development Status :: 7 - Inactive": "deprecated",
}


def draft_manifest(code: Code, found: Analysis) -> dict[str, Any]:
    """A manifest with everything that the code tells, as plain values in the order in which people read it.

    Args:
        code: the plugin's code and metadata.
        found: what analysis saw in it.
    """
    capabilities = [
        {"name": name, "rationale": f"{UNWRITTEN}: {_places([place for place, _ in found.uses[name]])}"}
        for name in sorted(found.uses)
    ]
    if found.destinations and "network" not in found.uses:
        places = [place for several in found.destinations.values() for place in several]
        capabilities.append({"name": "network", "rationale": f"{UNWRITTEN}: an address at {_places(places)}"})
    document: dict[str, Any] = {
        "v": 1,
        "plugin_id": PluginId.of(code.name),
        "version": code.version or UNWRITTEN,
        "description": code.description or UNWRITTEN,
        "owner": UNWRITTEN,
        "kind": UNWRITTEN,
        "api_version": UNWRITTEN,
        "maturity": next((MATURITIES[name] for name in code.classifiers if name in MATURITIES), "alpha"),
        "entry_points": {group: dict(names) for group, names in code.entry_points.items()} or UNWRITTEN,
        "capabilities": capabilities,
        "allowed_egress": [
            {"host": host, "schemes": [scheme], "ports": [port]} for host, scheme, port in sorted(found.destinations)
        ],
        "data_classes": [UNWRITTEN],
        "max_classification": "public",
        "secrets": found.secrets,
        "sdk_allowlist": _requirements(code),
        "hermetic_compatible": not any(entry["name"] == "network" for entry in capabilities),
    }
    return {name: value for name, value in document.items() if value != []}


def _places(places: list[Place]) -> str:
    shown = ", ".join(str(place) for place in dict.fromkeys(places[:SHOWN]))
    return shown[:400] + (f" and {len(places) - SHOWN} more" if len(places) > SHOWN else "")


def _requirements(code: Code) -> list[str]:
    """The requirements without markers and addresses, which a manifest does not take."""
    found = []
    for text in code.requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        found.append(f"{requirement.name}{extras}{requirement.specifier}")
    return sorted(set(found))
