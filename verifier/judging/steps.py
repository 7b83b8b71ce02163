"""The numbered steps of verification: each is timed and named to who listens, and what fails in one is a refusal."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Literal, NamedTuple

from verifier.errors import LoadlockError, Refused

STEPS = (
    "trust", "reading", "revocation list", "attestation set", "signatures", "subject", "wheel", "manifest",
    "SBOM and dependencies", "provenance", "certification", "standing rules", "decision",
)  # fmt: skip


class Outcome(NamedTuple):
    """How one step ended: its number, title, ``passed`` or ``refused``, what was found, and its milliseconds."""

    step: int
    title: str
    outcome: Literal["passed", "refused"]
    detail: str
    ms: float


class Steps:
    """Follows the numbered steps: times each, names it to an observer, and makes every failure a refusal of its step.

    All of them run in one context, ``with steps:``, one after the other, and each ends with :meth:`passed`.
    """

    def __init__(self, observe: Callable[[Outcome], None] | None = None) -> None:
        self._observe = observe
        self._number, self._started = 0, 0.0

    def __enter__(self) -> Steps:
        self._started = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._failed(error)

    def passed(self, number: int, detail: Callable[[], str]) -> None:
        """The step of this number has ended well, and the next one begins; ``detail`` is asked if somebody listens."""
        if self._observe is not None:
            self._tell("passed", detail())
            self._started = perf_counter()
        self._number = number + 1

    def _failed(self, error: Exception) -> None:
        """The step ended with an error; what comes out of here is a refusal of that step."""
        if isinstance(error, LoadlockError):
            self._refuse(error)
            return
        # The one boundary: whatever nobody foresaw is a refusal too, and says of which kind it was.
        refusal = Refused(
            "internal.unexpected", f"step {self._number} ({STEPS[self._number]}) met an error nobody foresaw",
            found=f"{type(error).__name__}: {str(error)[:200]!a}",
        )  # fmt: skip
        self._refuse(refusal)
        raise refusal from error

    def _refuse(self, refusal: LoadlockError) -> None:
        refusal.step = self._number
        try:
            self._tell("refused", f"[{refusal.code}] {refusal.what}")
        except Exception as error:
            # The refusal matters more than who listens: the listener's failure goes along with it.
            refusal.add_note(f"the observer of the steps failed as well: {type(error).__name__}")

    def _tell(self, outcome: Literal["passed", "refused"], detail: str) -> None:
        if self._observe is not None:
            ms = (perf_counter() - self._started) * 1000
            self._observe(Outcome(self._number, STEPS[self._number], outcome, detail, ms))
