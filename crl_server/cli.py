"""The service's part of the command line: a table, so that printing help imports nothing heavy."""

from __future__ import annotations

from crl_server.commands import (
    checkpoints,
    deployments,
    exports,
    handovers,
    hosts,
    lists,
    rotation,
    tokens,
    trust,
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
    *lists.COMMANDS,
    *checkpoints.COMMANDS,
    *exports.COMMANDS,
    *webhooks.COMMANDS,
)
