"""The service's part of the command line: a table, so that printing help imports nothing heavy."""

from __future__ import annotations

from crl_server.commands import (
    audit,
    backups,
    checkpoints,
    deployments,
    events,
    exports,
    handovers,
    hosts,
    recovery,
    revoke,
    rotation,
    tokens,
    trust,
    waivers,
    webhooks,
)
from verifier.command import Command

COMMANDS: tuple[Command, ...] = (
    *deployments.COMMANDS,
    *tokens.COMMANDS,
    *trust.COMMANDS,
    *rotation.COMMANDS,
    *handovers.COMMANDS,
    *hosts.COMMANDS,
    *waivers.COMMANDS,
    *revoke.COMMANDS,
    *audit.COMMANDS,
    *events.COMMANDS,
    *checkpoints.COMMANDS,
    *recovery.COMMANDS,
    *backups.COMMANDS,
    *exports.COMMANDS,
    *webhooks.COMMANDS,
)
