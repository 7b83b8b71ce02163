"""What a plugin has made, together with who made it: said by the host, whatever the plugin says of itself."""

from __future__ import annotations

from typing import Generic, TypeVar

from verifier.runtime.observed import UNOBSERVED, Observed
from verifier.value import Value

T = TypeVar("T")


class Output(Value, Generic[T], frozen=True):
    """What one call of a plugin returned.

    Attributes:
        value: that.
        plugin_id: whose it is.
        artifact_digest: "sha256:<64 hex>" of the wheel that ran.
        run_id: the run, 32 hex digits.
        observed: what the plugin reached for meanwhile.
    """

    value: T
    plugin_id: str
    artifact_digest: str
    run_id: str
    observed: Observed = UNOBSERVED

    @property
    def stamp(self) -> dict[str, str]:
        """The three, to be merged last into whatever is stored: ``{**row, **output.stamp}``."""
        return {"plugin_id": self.plugin_id, "artifact_digest": self.artifact_digest, "run_id": self.run_id}
