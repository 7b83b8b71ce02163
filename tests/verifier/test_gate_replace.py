"""A newer verified version takes the place of the one that runs; whatever is refused leaves the old one in place."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of
from tests.verifier.importing.conftest import compiled
from verifier.errors import PluginRevoked
from verifier.gate import Plugin

USES = {PACKAGE: "import leftpad\n\ndef hello():\n    return leftpad.VERSION\n"}
OTHER = {"other_plugin/__init__.py": "import leftpad\n\ndef hello():\n    return leftpad.VERSION\n"}


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    before = set(sys.modules)
    with HostedDeployment(tmp_path) as deployment:
        yield deployment
    assert not [name for name in set(sys.modules) - before if name.startswith(("leftpad", "sample_", "other_"))]


def hello(plugin: Plugin) -> object:
    return plugin.entry_point("exporters", "hello")()


def says(word: str) -> dict[str, str]:
    return {PACKAGE: "from sample_plugin.word import WORD\n\ndef hello():\n    return WORD\n",
            "sample_plugin/word.py": f"WORD = {word!r}\n"}  # fmt: skip


# -- refused: the old one stays ----------------------------------------------------------------------------------------


def test_an_older_version_or_another_plugin_takes_nobodys_place(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    old = gate.load(hosted.plugin(says("new"), version="1.1"))
    assert code_of(lambda: gate.load(hosted.plugin(says("old"), version="1.0"), replacing=old)) == "plugin.not-newer"
    same = hosted.plugin(says("same"), version="1.1", folder="again")
    assert code_of(lambda: gate.load(same, replacing=old)) == "plugin.not-newer"
    other = hosted.plugin(name="other-plugin", version="2.0")
    assert code_of(lambda: gate.load(other, replacing=old)) == "usage.arguments"
    newer = hosted.plugin(says("newer"), version="1.2")
    assert code_of(lambda: hosted.gate().load(newer, replacing=old)) == "usage.arguments"
    assert hello(old) == "new"
    assert gate.plugins == (old,)


def test_what_does_not_verify_or_does_not_fit_leaves_the_old_one(hosted: HostedDeployment) -> None:
    gate, leftpad = hosted.gate(), hosted.dependency("leftpad")
    newer = hosted.dependency("leftpad", version="2.0")
    old = gate.load(hosted.plugin(says("old")))
    gate.load(hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[leftpad]))
    revoked = hosted.plugin(says("new"), version="1.1")
    clashing = hosted.plugin(USES, version="1.2", requires=["leftpad"], locks=[newer])
    hosted.revoke(revoked)
    hosted.refresh()
    assert code_of(lambda: gate.load(revoked, replacing=old)) == "revoked.artifact"
    assert code_of(lambda: gate.load(clashing, replacing=old)) == "dependency.conflict"
    assert hello(old) == "old"
    assert importlib.metadata.version("sample-plugin") == "1.0"
    assert old in gate.plugins


def test_compiled_code_that_runs_is_not_replaced(hosted: HostedDeployment) -> None:
    gate, binary = hosted.gate(), f"leftpad/_speedups{EXTENSION_SUFFIXES[0]}"
    fast = hosted.dependency(
        "leftpad", {"leftpad/__init__.py": "VERSION = 'fast'\n", binary: compiled("markupsafe._speedups")}
    )
    lazily = USES[PACKAGE] + "\ndef compiled():\n    import leftpad._speedups\n"
    both = {"exporters": {"hello": "sample_plugin:hello", "compiled": "sample_plugin:compiled"}}
    old = gate.load(hosted.plugin({PACKAGE: lazily}, requires=["leftpad"], locks=[fast], entry_points=both))
    assert hello(old) == "fast"
    new = gate.load(
        hosted.plugin({PACKAGE: lazily}, version="1.1", requires=["leftpad"], locks=[fast], entry_points=both),
        replacing=old,
    )
    new.entry_point("exporters", "compiled")()
    assert code_of(lambda: gate.load(hosted.plugin(says("none"), version="1.2"), replacing=new)) == "wheel.unsupported"
    assert hello(new) == "fast"
    keeps = hosted.plugin(USES, version="1.3", requires=["leftpad"], locks=[fast])
    assert hello(gate.load(keeps, replacing=new)) == "fast"


# -- done --------------------------------------------------------------------------------------------------------------


def test_the_newer_version_is_served_and_the_old_handle_calls_nothing(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    old = gate.load(hosted.plugin(says("old")))
    entry = old.entry_point("exporters", "hello")
    assert entry() == "old"
    kept = entry.load()
    new = gate.load(hosted.plugin(says("new"), version="1.1"), replacing=old)
    assert hello(new) == "new"
    assert importlib.metadata.version("sample-plugin") == "1.1"
    assert gate.plugins == (new,)
    for call in (entry, lambda: old.module("sample_plugin"), lambda: old.run().__enter__()):
        with pytest.raises(PluginRevoked) as caught:
            call()
        assert caught.value.code == "plugin.replaced"
        assert new.facts.artifact_digest in caught.value.found
    assert kept() == "old"  # what was taken past the handle is out of reach


def test_dependencies_leave_and_come_with_their_plugins(hosted: HostedDeployment) -> None:
    gate, one, two = hosted.gate(), hosted.dependency("leftpad"), hosted.dependency("leftpad", version="2.0")
    old = gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[one]))
    assert hello(old) == "1.0"
    new = gate.load(hosted.plugin(USES, version="1.1", requires=["leftpad"], locks=[two]), replacing=old)
    assert hello(new) == "2.0"
    other = gate.load(hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[two]))
    module = sys.modules["leftpad"]
    newest = gate.load(hosted.plugin(says("alone"), version="1.2"), replacing=new)
    assert (hello(newest), hello(other)) == ("alone", "2.0")
    assert sys.modules["leftpad"] is module
    last = gate.load(hosted.plugin(OTHER | {"other_plugin/more.py": ""}, name="other-plugin", version="1.1",
                                   requires=["leftpad"], locks=[two]), replacing=other)  # fmt: skip
    assert hello(last) == "2.0"
    assert sys.modules["leftpad"] is module  # the same wheel stays, and is not imported anew


def test_a_revoked_version_gives_way_to_an_older_one(hosted: HostedDeployment) -> None:
    gate, older = hosted.gate(), hosted.plugin(says("older"))
    wheel = hosted.plugin(says("bad"), version="1.1")
    bad = gate.load(wheel)
    hosted.revoke(wheel)
    gate.refresh()
    assert bad.revoked
    assert hello(gate.load(older, replacing=bad)) == "older"
    with pytest.raises(PluginRevoked) as caught:
        bad.check()
    assert caught.value.code == "plugin.revoked"  # the first reason stays


def test_a_namespace_follows(hosted: HostedDeployment) -> None:
    ns = {PACKAGE: "import shared_ns.one\n\ndef hello():\n    return shared_ns.one.WORD\n"}
    gate = hosted.gate()
    old = gate.load(hosted.plugin(ns | {"shared_ns/one.py": "WORD = 1\n"}))
    part = {"other_plugin/__init__.py": "import shared_ns.two\n\ndef hello():\n    return dir(shared_ns)\n"}
    other = gate.load(hosted.plugin(part | {"shared_ns/two.py": ""}, name="other-plugin"))
    hello(other)
    assert hello(old) == 1
    namespace = sys.modules["shared_ns"]
    new = gate.load(hosted.plugin(ns | {"shared_ns/one.py": "WORD = 2\n"}, version="1.1"), replacing=old)
    assert hello(new) == 2
    assert sys.modules["shared_ns"] is namespace
    assert len(namespace.__path__) == 2
