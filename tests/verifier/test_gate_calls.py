"""Calling a loaded plugin: under one run, with every log record stamped, and its own errors left as they are."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of
from verifier.errors import PluginRevoked
from verifier.gate import Plugin
from verifier.judging.decide import Request
from verifier.runtime import Attribution, current
from verifier.runtime.declared import against
from verifier.runtime.stamps import FIELDS

SOURCE = inspect.cleandoc(
    """
    import asyncio, logging
    logger = logging.getLogger("sample")
    logger.warning("imported")

    def hello(text="hello"):
        logger.warning(text, extra={"plugin_id": "host", "run_id": "forged", "artifact_digest": "sha256:0"})
        return text

    def calls(function, *args):
        logger.warning("before")
        value = function(*args)
        logger.warning("after")
        return value

    async def later():
        await asyncio.sleep(0)
        return hello("later")

    def stream():
        yield hello("first")

    class Exporter:
        def export(self):
            return hello("exported")
    """
)
ENTRIES = {
    "exporters": {
        name: f"sample_plugin:{attribute}"
        for name, attribute in {
            "hello": "hello", "calls": "calls", "later": "later", "stream": "stream", "class": "Exporter"
        }.items()
    }
}  # fmt: skip


class Seen(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, Attribution]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = (getattr(record, name, None) for name in FIELDS)
        self.records.append((record.getMessage(), Attribution(*fields)))  # type: ignore[arg-type]

    def of(self, message: str) -> Attribution:
        [found] = [attribution for text, attribution in self.records if text == message]
        return found


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def plugin(hosted: HostedDeployment) -> Plugin:
    return hosted.gate().load(hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES))


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler = Seen()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


# -- what is refused, what is the plugin's own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "name"), [("exporters", "nothing"), ("importers", "hello"), ("", ""), ("exporters", "")]
)
def test_only_the_signed_entry_points_exist(plugin: Plugin, group: str, name: str) -> None:
    assert code_of(lambda: plugin.entry_point(group, name)) == "manifest.entry-point"


def test_a_module_that_the_wheel_does_not_hold_is_refused(plugin: Plugin) -> None:
    for name in ("os", "sample_plugin.nothing", "", "verifier"):
        assert code_of(lambda name=name: plugin.module(name)) == "manifest.entry-point"  # type: ignore[misc]


def test_what_the_plugin_raises_is_raised_as_it_is(plugin: Plugin) -> None:
    with pytest.raises(TypeError):
        plugin.entry_point("exporters", "hello")(1, 2, 3)
    assert current() is None


# -- runs and stamps ---------------------------------------------------------------------------------------------------


def test_what_a_plugin_says_of_itself_is_overwritten(plugin: Plugin, seen: Seen) -> None:
    with plugin.run() as run:
        plugin.entry_point("exporters", "hello")()
    assert seen.of("hello") == (plugin.facts.plugin_id, plugin.facts.artifact_digest, run.run_id)


def test_a_call_outside_all_runs_has_a_run_of_its_own(plugin: Plugin, seen: Seen) -> None:
    entry = plugin.entry_point("exporters", "hello")
    entry("one")
    entry("two")
    ids = {seen.of(text).run_id for text in ("one", "two")}
    assert len(ids) == 2
    assert "" not in ids
    assert current() is None


def test_a_first_import_belongs_to_the_run_that_needs_it(plugin: Plugin, seen: Seen) -> None:
    plugin.entry_point("exporters", "hello")()
    assert seen.of("imported") == seen.of("hello")


def test_calls_within_a_run_share_it(plugin: Plugin, seen: Seen) -> None:
    entry, through = plugin.entry_point("exporters", "hello"), plugin.entry_point("exporters", "calls")
    with plugin.run() as run:
        through(through, entry)
    assert {attribution.run_id for _, attribution in seen.records} == {run.run_id}
    seen.records.clear()
    through(through, entry)
    assert len({attribution.run_id for _, attribution in seen.records}) == 1


def test_a_call_into_another_plugin_is_that_plugins_run(hosted: HostedDeployment, seen: Seen) -> None:
    gate = hosted.gate()
    source = "import logging\ndef hello(): logging.getLogger('other').warning('other')"
    other = gate.load(hosted.plugin({"other_plugin/__init__.py": source}, name="other-plugin"))
    plugin = gate.load(hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES))
    with plugin.run() as run:
        plugin.entry_point("exporters", "calls")(other.entry_point("exporters", "hello"))
    assert seen.of("before").run_id == seen.of("after").run_id == run.run_id
    assert seen.of("other").plugin_id == "other_plugin"
    assert seen.of("other").run_id not in {"", run.run_id}


OBSERVED = """
import socket
def hello(port):
    socket.create_connection(("127.0.0.1", port)).close()
"""


def test_what_a_plugin_reaches_for_is_recorded_by_the_gates_clock(hosted: HostedDeployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        entry = hosted.gate().load(hosted.plugin({PACKAGE: OBSERVED})).entry_point("exporters", "hello")
        output = entry.stamped(port)
    [_, connection] = output.observed.records
    assert connection.event == ("connect", "127.0.0.1", port, "tcp", "")
    assert connection.at == hosted.now
    assert connection.whose == (output.plugin_id, output.artifact_digest, output.run_id, "frames", False)
    findings = against(output.observed, entry.plugin.facts.manifest)
    assert [finding.verdict for finding in findings] == ["undeclared", "undeclared"]


IN_POOL = """
import socket
from concurrent.futures import ThreadPoolExecutor
def hello(port):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(socket.create_connection, ("127.0.0.1", port)).result().close()
"""


def test_pools_remember_runs_from_the_first_run_on(hosted: HostedDeployment) -> None:
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        entry = hosted.gate().load(hosted.plugin({PACKAGE: IN_POOL})).entry_point("exporters", "hello")
        entry.load()
        assert (threading.Thread.start, ThreadPoolExecutor.submit) == before
        output = entry.stamped(port)
    [_, connection] = output.observed.records
    assert connection.event == ("connect", "127.0.0.1", port, "tcp", "")
    assert connection.whose == (output.plugin_id, output.artifact_digest, output.run_id, "run", False)


def test_a_host_may_switch_observation_off(hosted: HostedDeployment) -> None:
    before = threading.Thread.start
    entry = hosted.gate(observe=False).load(hosted.plugin()).entry_point("exporters", "hello")
    assert entry.stamped().observed.coverage == "none"
    assert threading.Thread.start is before


def test_what_outlives_the_call_needs_a_run_around_it(plugin: Plugin, seen: Seen) -> None:
    async def with_run() -> str:
        with plugin.run() as run:
            await plugin.entry_point("exporters", "later")()
            assert list(plugin.entry_point("exporters", "stream")()) == ["first"]
            plugin.entry_point("exporters", "class")().export()
        return run.run_id

    run_id = asyncio.run(with_run())
    assert {seen.of(text).run_id for text in ("later", "first", "exported")} == {run_id}
    seen.records.clear()
    asyncio.run(plugin.entry_point("exporters", "later")())
    assert seen.of("later") == (plugin.facts.plugin_id, plugin.facts.artifact_digest, "")


def test_the_hosts_own_records_are_left_alone(plugin: Plugin, seen: Seen) -> None:
    logging.getLogger("host").warning("ours", extra={"plugin_id": "a column of the host"})
    assert seen.of("ours") == ("a column of the host", "", "")


# -- the handle's own words --------------------------------------------------------------------------------------------


def test_a_handle_shows_what_it_is(plugin: Plugin) -> None:
    entry = plugin.entry_points["exporters"]["hello"]
    assert (entry.group, entry.name, entry.value) == ("exporters", "hello", "sample_plugin:hello")
    assert repr(entry) == "<EntryPoint exporters:hello of <Plugin sample_plugin 1.0>>"


def test_a_host_may_revoke_by_itself(plugin: Plugin) -> None:
    entry, run = plugin.entry_point("exporters", "hello"), plugin.run()
    module = plugin.module("sample_plugin")
    plugin.revoke("it was too slow")
    plugin.revoke("another reason")
    for action in (entry, entry.load, run.__enter__, plugin.check, lambda: run.call(module.hello)):
        with pytest.raises(PluginRevoked) as caught:
            action()
        assert (caught.value.code, caught.value.found) == ("plugin.revoked", "it was too slow")
    assert plugin.revoked == "it was too slow"
    assert repr(plugin) == "<Plugin sample_plugin 1.0 (revoked)>"


def test_a_plugin_of_an_older_api_is_called_through_the_hosts_adapter(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin({PACKAGE: "def hello():\n    return 'hello'\n"}, api_version="<1.0")

    def adapt(group: str, name: str, found: Any) -> Any:
        return lambda: f"{group}:{name} says {found()}"

    plugin = hosted.gate(request=Request(adapters={"0.9": adapt})).load(wheel)
    assert plugin.facts.api == "0.9"
    assert plugin.entry_point("exporters", "hello")() == "exporters:hello says hello"


def test_a_plugin_of_the_hosts_own_api_is_not_adapted(hosted: HostedDeployment) -> None:
    request = Request(adapters={"0.9": lambda group, name, found: None})
    plugin = hosted.gate(request=request).load(hosted.plugin())
    assert plugin.entry_point("exporters", "hello")() == "hello"
