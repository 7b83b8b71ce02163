"""A deployment that people look at: plugins, one of them hostile, revocations over weeks, a rule, a request, hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from crl_server.access.roles import STAFF, Identity
from crl_server.fleet import coverage_history
from crl_server.plugins.admission import Upload
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.trust import policies
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made
from tests.crl_server.live import Live, address_of, listen
from tests.simulator import PluginWheel, Simulator
from verifier.formats.acknowledgement import Acknowledgement, Instance, RunningPlugin
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.text import Digest, Name, PluginId, Time, Version

START = NOW - timedelta(days=21)
"""When the deployment was made."""
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)> \"'&{{7*7}}${7*7}"
"""What somebody puts wherever a manifest takes a sentence."""
PUBLISHER = Identity("oidc:ci:release", frozenset({"publisher"}))


class World:
    """One deployment, open.

    Attributes:
        authority: its service.
        tokens: an API token for each role, for ``all`` of them, and for ``second``, another person with all.
        wheels: what was admitted, by plugin id and version.
    """

    def __init__(self, directory: Path, server: str, issuers: str = "") -> None:
        made(directory, "production", START, server).close()
        (directory / "server" / "issuers.toml").write_text(issuers)
        self.authority = Authority(directory)
        self.wheels: dict[str, PluginWheel] = {}
        self._simulator = Simulator(START)
        self._sign_policy()
        self._live()
        self._acknowledge()
        self.tokens: dict[str, str] = {role: self._token(role, role) for role in STAFF}
        self.tokens |= {"all": self._token("ann", *STAFF), "second": self._token("bob", *STAFF)}

    def close(self) -> None:
        """Close the database."""
        self.authority.close()

    def _token(self, name: str, *roles: Any) -> str:
        return self.authority.create_token(Name(name), roles, 30 * DAY, ACTOR, NOW - HOUR)

    def _sign_policy(self) -> None:
        office = self.authority.office()
        text = office.text()
        people = self._simulator.people
        for plugin, prefix in (("sample_plugin", ""), ("other_plugin", "other-")):
            for role, tier in (("builder", None), ("owner", None), ("certifier", "core")):
                name = prefix + role
                text = policies.with_principal(text, Name(name), people[name].public, tier)  # type: ignore[arg-type]
            roles = ([Name(prefix + "builder")], [Name(prefix + "owner")], [Name(prefix + "certifier")])
            text = policies.with_plugin(text, PluginId(plugin), *roles, None)
        office.sign_policy(text, ACTOR, START)

    def _admit(self, name: str, version: str, now: datetime) -> None:
        wheel = self._simulator.wheel(name, version)
        claims = self._simulator.claims(wheel)
        manifest = claims["manifest"].predicate
        if name == "other-plugin":
            manifest |= {"description": HOSTILE, "data_classes": [HOSTILE], "maturity": "deprecated"}
            manifest["capabilities"][0]["rationale"] = HOSTILE
            claims["certification"].predicate[CERTIFICATION_FIELD]["conditions"] = [HOSTILE]
        else:
            manifest |= FULL
        claims.pin()
        self.wheels[f"{wheel.plugin_id} {version}"] = wheel
        self.authority.admit(Upload(wheel.file_name, wheel.data, claims.sign()), PUBLISHER, now)

    def _revoke(self, reason: str, note: str, now: datetime, *digests: Digest) -> None:
        self.authority.revoke(Order(digests, reason, note), "oidc:sso:carol", now)

    def _live(self) -> None:
        """What happened, in the order in which it did; the server signs its list again in between."""
        rule = NewRule(
            "component", {"purl": "pkg:pypi/left-pad", "range": "<2.1"}, "vulnerability", "until it is mended"
        )
        wish = Wish(digest("g"), None, "the report was about another plugin")
        add, ask = self.authority.add_rule, self.authority.request_reinstatement
        reported = "reported by the index, never admitted here"
        for age, happen in (
            (19, lambda now: self._admit("sample-plugin", "1.0", now)),
            (18, lambda now: self._revoke("malicious", reported, now, digest("a"), digest("b"), digest("c"))),
            (12, lambda now: self._admit("sample-plugin", "1.1", now)),
            (11, lambda now: self._revoke("superseded", "", now, digest("d"))),
            (8, lambda now: self._admit("other-plugin", "0.9", now)),
            (6, lambda now: self._revoke("vulnerability", HOSTILE, now, digest("e"), digest("f"))),
            (5, lambda now: self._revoke("vulnerability", "CVE-2026-0001 in the parser", now, self.digest("1.0"))),
            (4, lambda now: add(rule, "oidc:sso:dora", now)),
            (3, lambda now: self._admit("sample-plugin", "1.2", now)),
            (2, lambda now: self._revoke("mistake", "wrong digest, see the ticket", now, digest("g"))),
            (1, lambda now: ask(wish, "oidc:sso:carol", now)),
        ):
            self.authority.maintain(NOW - timedelta(days=age))
            happen(NOW - timedelta(days=age))
        self.authority.reconcile(NOW)

    def digest(self, version: str) -> Digest:
        """The digest of a sample plugin."""
        return Digest(self.wheels[f"sample_plugin {version}"].digest)

    def _acknowledge(self) -> None:
        with self.authority.store.read() as ledger:
            last = ledger.last_seq()
        for host, seq, age in (
            ("edge", 2, 600), ("web-1", last - 1, 300), ("web-2", last, 240), ("batch", last - 1, 180),
            ("web-1", last, 120), ("batch", last - 1, 3), ("web-2", last, 2), ("web-1", last, 1),
        ):  # fmt: skip
            self.acknowledge(host, seq, age)

    def acknowledge(self, host: str, seq: int, minutes_ago: int = 0) -> None:
        """Let a host say that it enforces the list at an event, and that it runs the newest sample plugin."""
        at = NOW - timedelta(minutes=minutes_ago)
        wheel = self.wheels["sample_plugin 1.2"]
        running = RunningPlugin(
            id=PluginId("sample_plugin"), version=Version("1.2"), digest=Digest(wheel.digest), since=Time.of(at),
            state="running",
        )  # fmt: skip
        claim = Acknowledgement(
            v=1, deployment=self.authority.record.deployment, host=Name(host), instance=Instance("0" * 32), epoch=1,
            seq=seq, policy=2, loadlock="0.1.0", plugins=(running,), at=Time.of(at),
        )  # fmt: skip
        self.authority.hearing.take(claim, at)
        self.authority.hearing.keep()
        coverage_history.note(self.authority.store, at)


@contextmanager
def served(directory: Path) -> Iterator[tuple[World, Live]]:
    """A world, and its server."""
    listening = listen()
    world = World(directory, address_of(listening))
    with Live(world.authority, listening) as live:
        yield world, live
    world.close()


FULL: dict[str, Any] = {
    "description": "Writes the rows of a table to a file of comma-separated values.",
    "capabilities": [
        {"name": "network", "rationale": "sends reports to the archive"},
        {"name": "file-write", "rationale": "writes the file that it was asked for"},
        {"name": "logging", "rationale": "says how many rows it wrote"},
    ],
    "allowed_egress": [
        {"host": "archive.host.example", "schemes": ["https"], "ports": [443]},
        {"host": "*.mirror.example.org", "schemes": ["https", "tls"], "ports": [443, 8443]},
    ],
    "data_classes": ["customer", "invoice"],
    "retention": "P30D",
    "redaction": ["names of persons"],
    "allowed_paths": ["/var/spool/exports"],
    "limits": {"memory_mib": 256, "execution_seconds": 30, "network_requests": 10},
    "quality": {"coverage": 93},
}
