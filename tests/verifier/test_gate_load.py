"""Loading: from memory alone, once, without the network, and undone when the plugin's own code fails."""

from __future__ import annotations

import copy
import importlib.metadata
import inspect
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import PACKAGE, ROOT, HostedDeployment, code_of, in_fresh_process, set_of
from verifier.errors import PluginFailed, Refused
from verifier.gate import Plugin


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_two_versions_of_one_plugin_do_not_fit_into_one_process(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    first, second = hosted.plugin(), hosted.plugin(version="1.1")
    plugin = gate.load(first)
    with pytest.raises(Refused) as caught:
        gate.load(second)
    assert caught.value.code == "wheel.shadowing"
    assert gate.plugins == (plugin,)
    assert plugin.entry_point("exporters", "hello")() == "hello"


def test_a_plugin_that_the_host_has_imported_from_elsewhere_is_refused(hosted: HostedDeployment) -> None:
    gate, wheel = hosted.gate(), hosted.plugin()
    sys.modules["sample_plugin"] = sys
    try:
        assert code_of(lambda: gate.load(wheel)) == "plugin.preloaded"
    finally:
        del sys.modules["sample_plugin"]
    assert gate.plugins == ()
    gate.load(wheel)


def test_entry_points_in_the_wheels_metadata_count_for_nothing(hosted: HostedDeployment) -> None:
    unsigned = "[exporters]\nevil = sample_plugin:evil\n"
    wheel = hosted.plugin({PACKAGE: "def evil(): ...", "sample_plugin-1.0.dist-info/entry_points.txt": unsigned})
    plugin = hosted.gate().load(wheel)
    assert code_of(lambda: plugin.entry_point("exporters", "evil")) == "manifest.entry-point"
    assert {group: [*named] for group, named in plugin.entry_points.items()} == {"exporters": ["hello"]}
    plugin.module("sample_plugin")
    assert [*importlib.metadata.entry_points(group="exporters")] == []


@pytest.mark.parametrize(
    "value", ["sample_plugin:missing", "sample_plugin.missing:hello", "os:system", "sample_plugin:hello.x"]
)
def test_an_entry_point_that_leads_nowhere_is_refused(hosted: HostedDeployment, value: str) -> None:
    entry = hosted.gate().load(hosted.plugin(entry_points={"exporters": {"x": value}})).entry_point("exporters", "x")
    assert code_of(entry.load) == "manifest.entry-point"
    assert code_of(entry) == "manifest.entry-point"


def test_what_is_added_to_the_facts_is_no_entry_point(hosted: HostedDeployment) -> None:
    plugin = hosted.gate().load(hosted.plugin({PACKAGE: "def evil(): ..."}))
    signed: Any = plugin.facts.manifest.entry_points
    signed["exporters"]["evil"] = "sample_plugin:evil"
    assert code_of(lambda: plugin.entry_point("exporters", "evil")) == "manifest.entry-point"
    assert [*plugin.entry_points["exporters"]] == ["hello"]


@pytest.mark.parametrize("attempt", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_handle_is_not_copied_away_from_its_switch(
    hosted: HostedDeployment, attempt: Callable[[object], object]
) -> None:
    plugin = hosted.gate().load(hosted.plugin())
    for handle in (plugin, plugin.entry_point("exporters", "hello"), {"settings": [plugin]}):
        if attempt is copy.copy and isinstance(handle, dict):
            continue  # the copy of a dictionary holds the same handle
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            attempt(handle)


# -- an import that fails ----------------------------------------------------------------------------------------------

FAILING = {
    "exception": "raise ValueError('no luck')",
    "exit": "import sys; sys.exit(0)",
    "missing": "import sample_plugin.nowhere",
    "syntax": "def",
    "in a submodule": "from sample_plugin import part",
}


@pytest.mark.parametrize("case", FAILING)
def test_an_import_that_fails_leaves_nothing_behind_and_can_be_tried_again(hosted: HostedDeployment, case: str) -> None:
    modules = {PACKAGE: FAILING[case], "sample_plugin/part.py": "raise OSError('part')"}
    plugin = hosted.gate().load(hosted.plugin(modules))
    before = set(sys.modules)
    for _ in range(2):
        with pytest.raises(PluginFailed) as caught:
            plugin.entry_point("exporters", "hello")()
        assert caught.value.code == "plugin.failed"
        assert set(sys.modules) - before == set()


def test_an_import_that_failed_for_want_of_something_succeeds_later(hosted: HostedDeployment) -> None:
    source = "import os\nif 'LOADLOCK_TEST' not in os.environ: raise OSError\ndef hello(): return 'now'"
    plugin = hosted.gate().load(hosted.plugin({PACKAGE: source}))
    entry = plugin.entry_point("exporters", "hello")
    assert code_of(entry) == "plugin.failed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADLOCK_TEST", "1")
        assert entry() == "now"


def test_an_attribute_that_is_computed_and_fails_is_the_plugins_failure(hosted: HostedDeployment) -> None:
    plugin = hosted.gate().load(hosted.plugin({PACKAGE: "def __getattr__(name): raise ZeroDivisionError"}))
    assert code_of(plugin.entry_point("exporters", "hello")) == "plugin.failed"


# -- from memory -------------------------------------------------------------------------------------------------------


def test_a_wheel_that_is_swapped_or_removed_after_loading_changes_nothing(hosted: HostedDeployment) -> None:
    files = {PACKAGE: "", "sample_plugin/late.py": "def hello(): return 'verified'", "sample_plugin/data.txt": "data"}
    wheel = hosted.plugin(files, entry_points={"exporters": {"hello": "sample_plugin.late:hello"}})
    plugin = hosted.gate().load(wheel)
    wheel.write_bytes(hosted.sim.wheel(files={PACKAGE: b"", "sample_plugin/late.py": b"raise SystemExit"}).data)
    plugin.module("sample_plugin")
    wheel.unlink()
    set_of(wheel).unlink()
    assert plugin.entry_point("exporters", "hello")() == "verified"
    assert importlib.resources.files("sample_plugin").joinpath("data.txt").read_text() == "data"


def test_the_same_artifact_is_one_handle_wherever_it_lies(hosted: HostedDeployment) -> None:
    gate, wheel = hosted.gate(), hosted.plugin()
    plugin = gate.load(wheel)
    assert gate.load(str(wheel)) is plugin
    assert gate.load(hosted.plugin(folder="elsewhere")) is plugin
    assert gate.plugins == (plugin,)


def test_an_artifact_that_is_loaded_still_needs_its_set(hosted: HostedDeployment) -> None:
    gate, wheel = hosted.gate(), hosted.plugin()
    gate.load(wheel)
    set_of(wheel).unlink()
    assert code_of(lambda: gate.load(wheel)) == "set.missing"


def test_two_gates_of_one_process_do_not_load_one_plugin_twice(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    hosted.gate().load(wheel)
    other = hosted.gate()
    with pytest.raises(Refused, match="by another gate of this process") as caught:
        other.load(wheel)
    assert (caught.value.code, caught.value.expected) == ("wheel.shadowing", "one gate in a process")


def test_eight_threads_load_and_call_at_once(hosted: HostedDeployment) -> None:
    source = "counter = []\ncounter.append(1)\ndef hello(): return len(counter)"
    gate, wheels = hosted.gate(), [hosted.plugin({PACKAGE: source}), hosted.plugin(name="other-plugin")]
    start = threading.Barrier(8)

    def load(number: int) -> tuple[Plugin, object]:
        start.wait(10)
        plugin = gate.load(wheels[number % 2])
        return plugin, plugin.entry_point("exporters", "hello")()

    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load, range(8)))
    assert {value for _, value in loaded[::2]} == {1}
    assert {value for _, value in loaded[1::2]} == {"hello"}
    assert len({id(plugin) for plugin, _ in loaded}) == 2


def test_plugin_code_may_use_the_gate_while_it_is_imported(hosted: HostedDeployment) -> None:
    gate, other = hosted.gate(), hosted.plugin(name="other-plugin")
    source = f"""
        import gc, threading
        from verifier import Gate
        [gate] = [found for found in gc.get_objects() if type(found) is Gate and id(found) == {id(gate)}]
        def load(): loaded.append(gate.load({str(other)!r}))
        loaded = []
        thread = threading.Thread(target=load)
        thread.start(); thread.join(10)
        def hello(): return loaded[0].entry_point('exporters', 'hello')()
    """
    plugin = gate.load(hosted.plugin({PACKAGE: inspect.cleandoc(source)}))
    assert plugin.entry_point("exporters", "hello")() == "hello"


def test_source_and_tracebacks_are_shown(hosted: HostedDeployment) -> None:
    plugin = hosted.gate().load(hosted.plugin({PACKAGE: "def hello():\n    raise KeyError('here')\n"}))
    module = plugin.module("sample_plugin")
    assert inspect.getsource(module.hello) == "def hello():\n    raise KeyError('here')\n"
    with pytest.raises(KeyError) as caught:
        plugin.entry_point("exporters", "hello")()
    shown = "".join(traceback.format_exception(caught.value))
    assert "raise KeyError('here')" in shown
    assert f'File "loadlock:{plugin.facts.artifact_digest[:23]}/sample_plugin/__init__.py", line 2, in hello' in shown


# -- what loading touches ----------------------------------------------------------------------------------------------

QUIET = """
import os, socket, sys
from datetime import UTC, datetime
from pathlib import Path
import securesystemslib.signer  # where boto3 is installed, it is imported along, and its libraries try sockets out
from verifier import Gate

wheel, host = Path(sys.argv[1]), Path(sys.argv[2])
seen, listening = [], False
def listen(event, args):
    if listening:
        seen.append((event, args))
sys.addaudithook(listen)

listening = True
gate = Gate.open(host)
plugin = gate.load(wheel)
opened = [args[0] for event, args in seen if event == "open" and args[1] is None]  # by os.open, as all are
reads = [path for path in opened if str(path).startswith(str(wheel))]
assert sorted(map(str, reads)) == [str(wheel), str(wheel) + ".attestations.jsonl"], reads
written = [args for event, args in seen if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]
assert written == [], written
network = [event for event, _ in seen if event.startswith("socket.") or event.startswith("urllib")]
assert network == [], network

seen.clear()
assert plugin.entry_point("exporters", "hello")() == "hello"
listening = False
touched = [(event, args) for event, args in seen if event in {"open", "os.listdir", "os.scandir"} or "socket" in event]
assert touched == [], touched
print("quiet")
"""


def test_loading_reads_wheel_and_set_once_and_an_import_reads_nothing(hosted: HostedDeployment) -> None:
    source = {PACKAGE: "from sample_plugin.part import hello", "sample_plugin/part.py": "def hello(): return 'hello'"}
    assert in_fresh_process(QUIET, hosted.plugin(source), hosted.directory) == "quiet"


OFFLINE = """
import sys
def refuse(event, args):
    if event.startswith("socket.") or event == "os.system" or event.startswith("subprocess"):
        raise RuntimeError(f"{event} while loading")
sys.addaudithook(refuse)
from verifier import Gate
print(Gate.open(sys.argv[2]).load(sys.argv[1]).entry_point("exporters", "hello")())
"""


def test_a_host_without_network_loads(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    hosted.server.stop()
    assert in_fresh_process(OFFLINE, wheel, hosted.directory) == "hello"


def test_the_names_of_the_package_are_those_it_exports() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import verifier
for name in verifier.__all__:
    assert getattr(verifier, name).__name__ == name
assert dir(verifier) == sorted(verifier.__all__)
try:
    verifier.nothing
except AttributeError as error:
    print(error)
"""
    assert in_fresh_process(script) == "module 'verifier' has no attribute 'nothing'"
