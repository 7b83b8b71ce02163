"""The SBOM of its dependencies that a wheel embeds (PEP 770): compared, never put in.

A wheel is never repacked, so whatever is inside its build put there: the project keeps the document beside its source,
and its build backend copies it into ``.dist-info/sboms/``. ``docs/adr/0016-an-embedded-sbom-is-the-projects-own.md``.
"""

from __future__ import annotations

from verifier.errors import Refused
from verifier.wheels.wheel import Snapshot


class EmbeddedSbomDiffers(Refused):
    """The wheel does not embed the SBOM of its dependencies.

    Attributes:
        expected_bytes: what it should embed.
    """

    def __init__(self, found: str, document: bytes) -> None:
        super().__init__(
            "sbom.embedded", "the wheel does not embed the SBOM of its dependencies", found=found,
            expected="a file in .dist-info/sboms/ with exactly the expected bytes",
        )  # fmt: skip
        self.expected_bytes = document


def check_embedded_sbom(wheel: Snapshot, expected: bytes) -> str:
    """Return the path of the embedded SBOM, byte for byte the one expected; others may lie beside it.

    Raises:
        EmbeddedSbomDiffers: ``sbom.embedded``.
    """
    there = sorted(path for path in wheel.files if path.startswith(f"{wheel.dist_info}/sboms/"))
    for path in there:
        if wheel.files[path] == expected:
            return path
    raise EmbeddedSbomDiffers(", ".join(there)[:500] or "no file there", expected)
