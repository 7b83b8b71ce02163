"""The switch that stands before every call into a loaded plugin."""

from __future__ import annotations

from verifier.errors import PluginRevoked


class Switch:
    """Open until it is thrown, and never open again.

    It holds no lock: throwing is one atomic step, so any number of threads may throw and check it, and a process may
    fork at any time. A fork copies its state; throwing it afterwards reaches only the process that throws.

    Args:
        plugin_id: what is revoked.
        artifact_digest: "sha256:<64 hex>" of its wheel.
    """

    def __init__(self, plugin_id: str, artifact_digest: str) -> None:
        self._subject = f"{plugin_id} ({artifact_digest})"
        self._thrown: dict[None, PluginRevoked] = {}

    def throw(self, reason: str | PluginRevoked) -> None:
        """Refuse from now on. The first reason stays.

        Args:
            reason: words for a person, or the whole error to raise, which loses its frames.
        """
        error = reason if isinstance(reason, PluginRevoked) else self._error(reason)
        _drop_frames(error)
        self._thrown.setdefault(None, error)

    @property
    def reason(self) -> str | None:
        """Why the switch was thrown, to be shown; None while it is open. To decide, :meth:`check` is called."""
        error = self._thrown.get(None)
        return None if error is None else error.found or error.what

    def check(self) -> None:
        """Pass while the switch is open.

        Raises:
            PluginRevoked: ``plugin.revoked`` with the reason, or the error that the switch was thrown with.
        """
        error = self._thrown.get(None)
        if error is not None:
            # A copy: several threads may raise it at once, and each writes its own traceback into what it raises.
            raise PluginRevoked(
                error.code, error.what, found=error.found, expected=error.expected, todo=error.todo
            ) from error

    def _error(self, reason: str) -> PluginRevoked:
        what = f"{self._subject} has been revoked and is called no more"
        return PluginRevoked("plugin.revoked", what, found=reason or "no reason was given")


def _drop_frames(error: BaseException) -> None:
    """Let go of the frames of an error that is kept: they hold the whole list that it came from."""
    error.__traceback__ = None
    if error.__cause__ is not None:
        _drop_frames(error.__cause__)
