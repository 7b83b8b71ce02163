"""For the tests of hosts: a deployment that lives as long as a test, and every refusal on demand.

    def test_my_host_survives_a_revoked_plugin(loadlock_deployment, my_host):
        wheel = loadlock_deployment.attest({"my_plugin.py": "def csv(rows): ..."}, name="my-plugin")
        loadlock_deployment.revoke(wheel)
        my_host.start(loadlock_deployment.directory)

    plugin.py        fixtures of pytest: loadlock_deployment, loadlock_gate, loadlock_load, loadlock_refusal
    deployment.py    the deployment, its server on loopback, one enrolled host, and a clock
    refusals.py      by code: what to do so that a plugin is refused with it
    statements.py    honest statements about any wheel, to be made wrong before they are signed
    people.py        who signs
    documents.py     policy, checkpoint and revocation list
    repository.py    the TUF repository around them
    loopback.py      the server

Nothing here is a trust decision: whoever can read a test's memory can sign as anybody in it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadlock.testing.deployment import Deployment
    from loadlock.testing.refusals import REFUSALS, Refusal

_LAZY = {
    "REFUSALS": "loadlock.testing.refusals",
    "Deployment": "loadlock.testing.deployment",
    "Refusal": "loadlock.testing.refusals",
}

__all__ = ["REFUSALS", "Deployment", "Refusal"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'loadlock.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
