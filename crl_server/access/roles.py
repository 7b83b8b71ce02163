"""Who may do what: roles, and the one table that says which role an operation takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from verifier.errors import Refused
from verifier.formats.text import Name, PluginId, caseless

StaffRole = Literal["publisher", "revoker", "approver", "auditor", "operator"]
STAFF: tuple[StaffRole, ...] = get_args(StaffRole)
"""The roles of people and of pipelines."""
Role = Literal[StaffRole, "host"]
ROLES: tuple[Role, ...] = get_args(Role)
"""All roles. That of a host stands alone: whoever holds it speaks for one host, and does nothing else."""
Operation = Literal[
    "artifact.admit", "artifact.read", "revocation.add", "revocation.read", "rule.add", "reinstatement.request",
    "reinstatement.approve", "audit.read", "host.acknowledge", "host.read", "metrics.read",
    "waiver.request", "waiver.approve", "waiver.end",
]  # fmt: skip

ALLOWED: Mapping[Operation, frozenset[Role]] = {
    "artifact.admit": frozenset({"publisher"}),
    "artifact.read": frozenset(STAFF),
    "revocation.add": frozenset({"revoker"}),
    "revocation.read": frozenset(STAFF),
    "rule.add": frozenset({"revoker"}),
    "reinstatement.request": frozenset({"revoker", "approver"}),
    "reinstatement.approve": frozenset({"approver"}),
    "audit.read": frozenset({"approver", "auditor", "operator"}),
    "host.acknowledge": frozenset({"host"}),
    "host.read": frozenset({"revoker", "approver", "auditor", "operator"}),
    "metrics.read": frozenset({"auditor", "operator"}),
    "waiver.request": frozenset({"operator"}),
    "waiver.approve": frozenset({"approver"}),
    "waiver.end": frozenset({"revoker", "approver", "operator"}),
}
"""Which roles may do what. An operation that is not here may be done by nobody."""
WRITES: frozenset[Operation] = frozenset(
    {
        "artifact.admit", "revocation.add", "rule.add", "reinstatement.request", "reinstatement.approve",
        "host.acknowledge", "waiver.request", "waiver.approve", "waiver.end",
    }
)  # fmt: skip
"""Operations whose refusal is recorded."""


@dataclass(frozen=True)
class Identity:
    """Who is asking.

    Attributes:
        actor: as the audit log names them: ``token:<name>``, ``oidc:<issuer>:<subject>`` or ``local:<user>``.
        roles: what they may act as.
        plugins: the only plugins that they may publish; None for any.
        host: the one host that they may speak for; None for none.
    """

    actor: str
    roles: frozenset[Role]
    plugins: frozenset[PluginId] | None = None
    host: Name | None = None

    def check_plugin(self, plugin_id: PluginId) -> None:
        """Demand that they may publish this plugin.

        Raises:
            Refused: ``auth.plugin``.
        """
        if self.plugins is not None and plugin_id not in self.plugins:
            raise Refused(
                "auth.plugin", f"{self.actor} may not publish this plugin",
                found=plugin_id, expected=", ".join(sorted(self.plugins)[:10]) or "none",
            )  # fmt: skip

    def check_host(self, host: str) -> None:
        """Demand that they speak for this host.

        Raises:
            Refused: ``auth.host``.
        """
        if self.host is None or self.host != host:
            raise Refused(
                "auth.host", f"{self.actor} does not speak for this host", found=ascii(host[:80]),
                expected=self.host or "a host's own token",
            )  # fmt: skip


def is_same(one: str, other: str) -> bool:
    """Whether two actors may be one person: what differs in nothing but upper and lower case, or in how an accent is
    encoded, counts as one.

    Issuers that tell people apart by their mail address spell it as it was typed, which differs from system to system.
    """
    return caseless(one) == caseless(other)


def authorise(identity: Identity, operation: Operation) -> None:
    """Demand that ``identity`` may do ``operation``.

    Raises:
        Refused: ``auth.role``.
    """
    allowed = ALLOWED[operation]
    if not identity.roles & allowed:
        raise Refused(
            "auth.role",
            f"{identity.actor} may not do this ({operation})",
            found=f"roles {_words(identity.roles)}",
            expected=f"one of {_words(allowed)}",
        )


def _words(roles: frozenset[Role]) -> str:
    return ", ".join(sorted(roles)) or "none"
