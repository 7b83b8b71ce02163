"""The numbered steps of verification: each is timed and named to who listens, and whatever fails in it is a refusal."""

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


class _Step:
    """One step while it runs."""

    __slots__ = ("_number", "_started", "_steps")

    def __init__(self, steps: Steps, number: int) -> None:
        self._steps, self._number = steps, number

    def __enter__(self) -> None:
        self._steps.detail, self._started = "", perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._steps.failed(self._number, error, self._started)
        elif error is None:
            try:
                self._steps.passed(self._number, self._started)
            except Exception as failure:
                self._steps.failed(self._number, failure, self._started)
                raise


class Steps:
    """Runs the numbered steps: times each, names it to an observer, and makes every failure a refusal of that step."""

    def __init__(self, observe: Callable[[Outcome], None] | None = None) -> None:
        self._observe = observe
        self.detail = ""

    def __call__(self, number: int) -> _Step:
        """Run one step, as a context; ``detail`` may be set inside."""
        return _Step(self, number)

    def passed(self, number: int, started: float) -> None:
        """A step ended well."""
        self._tell(number, "passed", self.detail, started)

    def failed(self, number: int, error: Exception, started: float) -> None:
        """A step ended with an error; what comes out of here is a refusal of that step.

        Raises:
            Refused: ``internal.unexpected`` for any error that is no refusal.
        """
        if isinstance(error, LoadlockError):
            self._refuse(number, error, started)
            return
        # The one boundary: whatever nobody foresaw is a refusal too, and says of which kind it was.
        refusal = Refused(
            "internal.unexpected", f"step {number} ({STEPS[number]}) met an error nobody foresaw",
            found=f"{type(error).__name__}: {str(error)[:200]!a}",
        )  # fmt: skip
        self._refuse(number, refusal, started)
        raise refusal from error

    def _refuse(self, number: int, refusal: LoadlockError, started: float) -> None:
        refusal.step = number
        try:
            self._tell(number, "refused", f"[{refusal.code}] {refusal.what}", started)
        except Exception as error:
            # The refusal matters more than who listens: the listener's failure goes along with it.
            refusal.add_note(f"the observer of the steps failed as well: {type(error).__name__}")

    def _tell(self, number: int, outcome: Literal["passed", "refused"], detail: str, started: float) -> None:
        if self._observe is not None:
            self._observe(Outcome(number, STEPS[number], outcome, detail, (perf_counter() - started) * 1000))
