"""A whole deployment in memory, with the clock as an argument: nothing is mocked, nothing is fetched.

    sim = Simulator()
    wheel = sim.wheel(requires=["attrs"])
    sim.verify(wheel, sim.attest(wheel))                      # the honest case verifies

    claims = sim.claims(wheel)                                # … and any of it can be made wrong and signed again
    claims["manifest"].predicate["owner"] = "other-owner"
    claims["sbom"].signer = sim.people["stranger"]
    sim.policy("tiers.core.grace", "PT1H")
    sim.revoke(wheel.digest)
    sim.verify(wheel, claims.sign(), now=NOW + timedelta(days=1))

Real keys sign, python-tuf's own metadata carries the policy, and the code under test does everything else.
"""

from __future__ import annotations

from loadlock.testing.people import Person
from tests.simulator.claims import Claim, Claims
from tests.simulator.deployment import EVERYTHING, NOW, PluginWheel, Simulator, put

__all__ = ["EVERYTHING", "NOW", "Claim", "Claims", "Person", "PluginWheel", "Simulator", "put"]
