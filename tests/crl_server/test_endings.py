"""What ends soon, of the registry and of the tokens: told in log, metrics, console, audit log and to whom asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crl_server.operating import endings
from crl_server.operating.endings import Ending, Endings
from crl_server.operating.notices import note
from crl_server.plugins import registry
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from crl_server.webhooks.events import kind_of
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.console.world import World, served
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, made
from tests.crl_server.live import Live
from verifier.formats.text import Digest, Name, PluginId

LATER = NOW + 60 * DAY
"""When the certifications of the world are about to end."""


@pytest.fixture
def authority(engine: str, tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / engine)
    yield new
    new.close()


@pytest.fixture(scope="module")
def world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live]]:
    with served(tmp_path_factory.mktemp(engine) / "acme") as both:
        yield both


def soon(authority: Authority, now: object = NOW) -> list[Ending]:
    with authority.store.read() as ledger:
        return list(authority.endings(ledger, now))  # type: ignore[arg-type]


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "told_before"), [(3 * HOUR, HOUR), (30 * DAY, 10 * DAY), (90 * DAY, 30 * DAY), (365 * DAY, 30 * DAY)]
)
def test_a_token_is_told_of_in_its_last_third_and_never_before_30_days(
    authority: Authority, life: timedelta, told_before: timedelta
) -> None:
    authority.create_token(Name("ci"), ["publisher"], life, ACTOR, NOW, None, [PluginId("a")])
    ends, second = NOW + life, timedelta(seconds=1)
    assert soon(authority, ends - told_before) == []
    for moment in (ends - told_before + second, ends, ends + 30 * DAY - second):
        (found,) = soon(authority, moment)
        assert (found.name, found.what) == ("token:ci", "the API token ci (publisher)")
        assert found.ends.instant == ends
    assert soon(authority, ends + 30 * DAY) == []


def test_a_token_that_was_taken_back_is_not_told_of(authority: Authority) -> None:
    authority.create_token(Name("ci"), ["auditor"], DAY, ACTOR, NOW)
    authority.revoke_token(Name("ci"), ACTOR, NOW)
    assert soon(authority, NOW + 23 * HOUR) == []


# -- the registry ------------------------------------------------------------------------------------------------------


def test_certifications_of_what_is_in_use_are_told_of(world: tuple[World, Live]) -> None:
    authority = world[0].authority
    assert soon(authority, NOW) == []
    found = soon(authority, LATER)
    assert found == soon(authority, LATER)
    with authority.store.read() as ledger:
        usable = {row for row in map(str, registry.digests(ledger)) if ledger.listed(Digest(row)) is None}
    assert {entry.of for entry in found} == usable
    assert {entry.kind for entry in found} == {"certification"}
    assert found == sorted(found, key=lambda entry: entry.ends)


def test_one_look_reads_only_so_many_sets_and_the_next_one_goes_on(
    world: tuple[World, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "MAX_READ", 1)
    fresh, counts = Endings(), []
    for _ in range(4):
        with world[0].authority.store.read() as ledger:
            counts.append(len(fresh.soon(ledger, LATER)))
    assert counts == [1, 2, 3, 3]


# -- where it is told --------------------------------------------------------------------------------------------------


def test_it_is_recorded_and_logged_once_each(world: tuple[World, Live], caplog: pytest.LogCaptureFixture) -> None:
    authority = world[0].authority
    for _ in range(2):
        note(authority, LATER)
    with authority.store.read() as ledger:
        lines = list(ledger.audit_lines())
    told = [line for line in lines if parse_entry(line).subject.startswith("certification:")]
    wheel = world[0].wheels["sample_plugin 1.2"].digest
    assert len(told) == len(soon(authority, LATER))
    assert {found.topic for line in told if (found := kind_of(line))} == {"expiry"}
    assert sum(parse_entry(line).subject == f"certification:{wheel}" for line in told) == 1
    with caplog.at_level(logging.WARNING):
        authority.create_token(Name("short"), ["auditor"], DAY, ACTOR, LATER)
        note(authority, LATER + 23 * HOUR)
        note(authority, LATER + 23 * HOUR)
    assert caplog.text.count("the API token short (auditor) ends at") == 1


def test_whoever_asks_is_told_how_many_and_no_names(world: tuple[World, Live]) -> None:
    warnings = world[0].authority.warnings(LATER)
    assert any("certifications end soon or have ended: 3, the first at" in warning for warning in warnings)
    assert "sample" not in " ".join(warnings)


def test_metrics_count_them(world: tuple[World, Live]) -> None:
    live = world[1]
    live.now = LATER
    registry_of = live.instruments.registry
    assert registry_of.get_sample_value("loadlock_ending", {"kind": "certification"}) == 3
    assert registry_of.get_sample_value("loadlock_ending", {"kind": "token"}) == 0
    left = registry_of.get_sample_value("loadlock_ending_seconds", {"kind": "certification"})
    assert left is not None
    assert 0 < left < 30 * 86400
    assert registry_of.get_sample_value("loadlock_ending_seconds", {"kind": "token"}) is None


def test_the_console_names_them(world: tuple[World, Live]) -> None:
    authority, live = world[0].authority, world[1]
    live.now = LATER
    token = authority.create_token(Name("visitor"), ["auditor"], DAY, ACTOR, LATER - 20 * HOUR)
    page = Visitor(live, token).page("/")
    section = page[page.index('id="ending"') :]
    assert "visitor (auditor)" in section
    assert "sample_plugin 1.2" in section
    assert "its certification" in section
