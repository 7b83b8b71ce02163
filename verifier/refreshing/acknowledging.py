"""Acknowledging: a host tells the server which list it goes by and what it runs (docs/spec/acknowledgement.md).

It happens beside the host, in a thread of its own, and after the fact: what is told is what the gate judges by already.
Nothing waits for it and nothing fails for it. A host without an identity tells nothing.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from verifier.errors import LoadlockError, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats import strict_json
from verifier.formats.acknowledgement import (
    MAX_IDENTITY,
    MAX_PLUGINS,
    Acknowledged,
    Acknowledgement,
    HostIdentity,
    Instance,
    RunningPlugin,
    parse_acknowledged,
    parse_identity,
)
from verifier.formats.text import Time
from verifier.refreshing.api_client import checked_address, post
from verifier.refreshing.watch import Watcher

if TYPE_CHECKING:
    from verifier.deployment.home import Home
    from verifier.judging.verify import Ground
    from verifier.plugin import Plugin

logger = logging.getLogger(__name__)

ENVIRONMENT = "LOADLOCK_HOST_IDENTITY"
"""Names another place for ``identity.json``."""
LOOK = 1.5
"""Seconds, with jitter, between two looks at whether there is something new to tell."""
REPEAT = 300.0
"""Seconds after which the same is told again; also the longest wait after failures."""


class InEffect(NamedTuple):
    """What there is to tell: the list and the policy that an instance judges by, and its plugins."""

    epoch: int
    seq: int
    policy: int
    plugins: tuple[RunningPlugin, ...]
    omitted: int


def in_effect(ground: Ground, plugins: tuple[Plugin, ...]) -> InEffect:
    """What there is to tell of a ground and of the plugins that were judged by it."""
    running = sorted((_running(plugin) for plugin in plugins), key=lambda plugin: plugin.digest)
    head, policy = ground.revocations.head, ground.trust.policy
    return InEffect(
        head.epoch, head.seq, policy.version, tuple(running[:MAX_PLUGINS]), max(len(running) - MAX_PLUGINS, 0)
    )


def _running(plugin: Plugin) -> RunningPlugin:
    facts = plugin.facts
    return RunningPlugin(
        id=facts.plugin_id, version=facts.version, digest=facts.artifact_digest, since=Time.of(facts.verified_at),
        state="running" if plugin.revoked is None else "stopped",
    )  # fmt: skip


class Reporter:
    """Tells one server what one process goes by, again and again, also in forked children.

    Args:
        home: the host's deployment directory.
        identity: as which host it speaks.
        effect: what there is to tell now.
        clock: tells the time (aware, UTC).
        look: seconds between two looks at whether there is something new.

    Raises:
        UsageError: ``usage.configuration`` for a server that a token may not be sent to.
    """

    def __init__(
        self,
        home: Home,
        identity: HostIdentity,
        effect: Callable[[], InEffect],
        clock: Callable[[], datetime],
        look: float = LOOK,
    ) -> None:
        import encodings.idna  # noqa: F401 - asked for when a name is looked up; no import may be interrupted by a fork

        import urllib3  # noqa: F401 - asked for when something is sent

        checked_address(home.host.server)
        self._home, self._identity, self._effect, self._clock = home, identity, effect, clock
        self._loadlock = _version()
        self._process, self._instance = -1, Instance("0" * 32)
        self._told: InEffect | None = None
        self._told_at = 0.0
        self._watcher = Watcher(self.tell, interval=REPEAT, rest=look, what="acknowledging", level=logging.INFO)

    def start(self) -> None:
        """Begin to tell; starting twice changes nothing."""
        self._watcher.start()

    def stop(self) -> None:
        """Tell no more; returns within moments."""
        self._watcher.stop()

    def tell(self) -> None:
        """Tell what is in effect, if that is news to the server or it was told long ago.

        Raises:
            Unreachable, Refused: as :func:`verifier.refreshing.api_client.post`.
        """
        if self._process != os.getpid():  # the first time, or a forked child: an instance of its own
            self._process, self._instance, self._told = os.getpid(), Instance(secrets.token_hex(16)), None
        effect = self._effect()
        if effect == self._told and time.monotonic() - self._told_at < REPEAT:
            return
        host, now = self._identity.host, Time.of(self._clock())
        claim = Acknowledgement(
            v=1, deployment=self._home.host.deployment, host=host, instance=self._instance, loadlock=self._loadlock,
            at=now, **effect._asdict(),
        )  # fmt: skip
        post(self._home.host.server, f"/v1/hosts/{host}/acknowledgement", self._identity.token, document=claim)
        self._told, self._told_at = effect, time.monotonic()
        remember(self._home, Acknowledged(v=1, epoch=effect.epoch, seq=effect.seq, at=now))


def reporter_of(
    home: Home, effect: Callable[[], InEffect], clock: Callable[[], datetime], look: float = LOOK
) -> Reporter | None:
    """A reporter for a host that has an identity; None for one that tells nothing, with a warning if it might have."""
    try:
        identity = read_identity(home)
        return None if identity is None else Reporter(home, identity, effect, clock, look)
    except LoadlockError as error:
        logger.warning("this host acknowledges nothing: %s", error)
        return None


def identity_path(home: Home) -> Path:
    """Where the identity of a host lies, whether or not it has one."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else home.directory / "identity.json"


def read_identity(home: Home) -> HostIdentity | None:
    """The identity of a host; None if it has none.

    Raises:
        UsageError: ``usage.configuration`` when everybody on the machine can read it; ``io.failed``.
        FormatError: any ``format.*`` code.
    """
    path = identity_path(home)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError("io.failed", "the host's identity cannot be read", found=error.strerror or "") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise UsageError(
            "usage.configuration", "everybody on this machine can read the host's token", found=str(path),
            expected="mode 0600", todo="Run 'chmod 600' on it, and have another token made.",
        )  # fmt: skip
    return parse_identity(read_capped(path, MAX_IDENTITY, "host identity"))


def write_identity(home: Home, identity: HostIdentity) -> Path:
    """Give a host its identity, in place of an earlier one; returns where it lies.

    Raises:
        Unreachable: ``io.failed``.
    """
    path = identity_path(home)
    write_atomic(path, strict_json.dumps(identity), mode=0o600)
    return path


def remember(home: Home, told: Acknowledged) -> None:
    """Note down for ``loadlock plugins doctor`` what the server has taken; a read-only directory goes without."""
    try:
        write_atomic(home.directory / "acknowledged.json", strict_json.dumps(told))
    except LoadlockError as error:
        logger.debug("what was acknowledged is not noted down: %s", error)


def acknowledged(home: Home) -> Acknowledged | None:
    """What the server has taken last, as far as this host has noted it down legibly."""
    try:
        return parse_acknowledged(read_capped(home.directory / "acknowledged.json", MAX_IDENTITY, "acknowledgement"))
    except LoadlockError:
        return None


def _version() -> str:
    try:
        return version("loadlock")
    except PackageNotFoundError:  # run from its source
        return "unknown"
