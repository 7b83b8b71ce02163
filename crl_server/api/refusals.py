"""Refusals that somebody should hear of although whoever asked may do such things: recorded like those of roles.

Who may not approve at all is recorded where roles are judged; who may, and tries it on a request of their own, or
publishes a plugin that is somebody else's, is told apart later, when the request itself is judged.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from crl_server.access.roles import WRITES, Operation
from crl_server.service import Authority
from verifier.errors import LoadlockError

RECORDED = frozenset({"auth.plugin", "auth.host", "reinstatement.own", "waiver.own", "revocation.reach"})
"""The codes: what is somebody else's, two people who are one, and a revocation that has to be confirmed."""


def remember(request: Request, authority: Authority, actor: str, operation: Operation, now: datetime) -> None:
    """Note with a request who asks for what, once they are admitted to it."""
    if operation in WRITES:
        request.state.record = lambda code: authority.record_denial(actor, operation, code, now)


async def record(request: Request, error: LoadlockError) -> None:
    """Record a refusal that is one of :data:`RECORDED`.

    Raises:
        Unreachable: ``io.failed``.
    """
    note = getattr(request.state, "record", None)
    if note is not None and error.code in RECORDED:
        await run_in_threadpool(note, error.code)
