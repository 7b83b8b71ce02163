"""What is read out of a plugin's code, what is drafted from it, and what a manifest is refused for before a build."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestor.building.wheelhouse import Wheelhouse
from attestor.describing.analysis import Analysis, analyse
from attestor.describing.code import read_code
from attestor.pipeline import Options, attest_source, attest_wheel
from tests.attestor import test_cli
from tests.attestor.conftest import EXAMPLE, NOW, Project, Signers
from tests.attestor.test_cli import code_of, run
from tests.attestor.test_signatures import endorsed
from tests.attestor.test_signatures import with_manifest as changed
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.formats.manifest import parse_manifest

GREEDY = '''
"""See https://docs.host.example/ for more."""
import os, subprocess
import httpx as h
from pathlib import Path
from urllib import request

ADDRESS = "https://api.host.example/v1"

def act(path):
    token = os.environ["API_TOKEN"]
    region = os.getenv("REGION", "west")
    h.post(f"{ADDRESS}/x", headers={"a": token})
    request.urlopen("http://*.host.example:8080/")
    request.urlopen("http://plain.host.example:8080/")
    subprocess.run(["convert"])
    Path(path).write_text(region)
    with open(path) as stream:
        return eval(stream.read())
'''
PYPROJECT = """[project]
name = "greedy-plugin"
version = "1.0"
description = "Takes what it can."
dependencies = ["httpx>=0.27", "attrs ; python_version > '3'"]
classifiers = ["Development Status :: 4 - Beta"]
[project.entry-points.connectors]
greedy = "greedy_plugin:act"
"""


def seen(source: str) -> Analysis:
    return analyse({"p/__init__.py": source.encode()})


@pytest.fixture
def greedy(tmp_path: Path) -> Path:
    """A project that does much, and declares nothing."""
    place = tmp_path / "greedy"
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "src/greedy_plugin/__init__.py": GREEDY,
        "tests/test_it.py": "import socket\n",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def honest() -> dict[str, Any]:
    """A manifest that says all that the project does."""
    return {
        "v": 1,
        "plugin_id": "greedy_plugin",
        "version": "1.0",
        "description": "Takes what it can.",
        "owner": "owner",
        "kind": "connector",
        "api_version": ">=1",
        "maturity": "beta",
        "entry_points": {"connectors": {"greedy": "greedy_plugin:act"}},
        "capabilities": [
            {"name": name, "rationale": f"needed because of {name}"}
            for name in ("network", "subprocess", "environment", "file-read", "file-write")
        ],
        "allowed_egress": [
            {"host": "*.host.example", "schemes": ["https"], "ports": [443]},
            {"host": "plain.host.example", "schemes": ["http"], "ports": [8080]},
        ],
        "secrets": ["API_TOKEN"],
        "sdk_allowlist": ["httpx>=0.27"],
    }


def problems(place: Path, manifest: dict[str, Any] | str | None = None) -> set[tuple[str, str]]:
    """Level and rule of everything that validation says."""
    if manifest is not None:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        (place / "PLUGIN_MANIFEST.json").write_text(text)
    done = run("validate", place)
    found = {(problem["level"], problem["rule"]) for problem in done.value["problems"]}
    assert done.status == (1 if any(level == "error" for level, _ in found) else 0)
    assert done.value["ok"] is (done.status == 0)
    return found


# -- analysis ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "capability"),
    [
        ("import socket", "network"),
        ("import http.client", "network"),
        ("from http import client", "network"),
        ("from urllib.request import urlopen as u", "network"),
        ("import urllib\nurllib.request.urlopen('x')", "network"),
        ("import google.cloud.storage", "network"),
        ("def f():\n    import requests", "network"),
        ("import asyncio\nasyncio.open_connection('a', 1)", "network"),
        ("import os as o\no.system('ls')", "subprocess"),
        ("from os import popen", "subprocess"),
        ("from os import environ as e\ne['A']", "environment"),
        ("open('x', 'w')", "file-write"),
        ("open('x', mode='r+')", "file-write"),
        ("open('x', m)", "file-write"),
        ("open('x')", "file-read"),
        ("import gzip\ngzip.open('xaw')", "file-read"),
        ("p.open('a')", "file-write"),
        ("p.read_bytes()", "file-read"),
        ("import shutil", "file-write"),
        ("import ctypes", "native-code"),
        ("import structlog", "logging"),
        ("import importlib\nimportlib.import_module('socket')", "network"),
        ("from importlib import import_module as load\nload('http.client')", "network"),
        ("__import__('subprocess').run", "subprocess"),
        ("m = __import__('os')\nm.system('ls')", "subprocess"),
        ("exec('import socket')", "network"),
        ("eval('__import__(\"os\").system(1)')", "subprocess"),
        ("import os\ngetattr(os, 'system')('ls')", "subprocess"),
        ("import os\no = os\no.system('ls')", "subprocess"),
        ("def f():\n    o.system('ls')\nimport os as o", "subprocess"),
        ("import posix\nposix.system('ls')", "subprocess"),
        ("import sys\nsys.modules['socket']", "network"),
        ("from concurrent.futures import ProcessPoolExecutor", "subprocess"),
        ("import os\nos.execvpe('a', [], {})", "subprocess"),
        ("import _socket", "network"),
        ("loop.create_connection(f, 'a', 1)", "network"),
    ],
)
def test_what_needs_a_capability_is_seen(source: str, capability: str) -> None:
    assert set(seen(source).uses) == {capability}


@pytest.mark.parametrize(
    "source",
    [
        "opener.open(request)",
        "opener.open('a text')",
        "import urllib.parse",
        "import re\nre.compile('a')",
        "import asyncio",
        "from . import socket",
        "x = 'open(1)'",
        "exec('x = 1')",
        "import json\ngetattr(json, name)",
        "getattr(self, name)",
        "code.path",
        "import sys\nsys.modules[__name__] = 1",
    ],
)
def test_what_needs_none_is_not(source: str) -> None:
    found = seen(source)
    assert (found.uses, found.unseen) == ({}, [])


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "exec('1' + x)",
        "exec('no python')",
        "__import__(n)",
        "import importlib\nimportlib.import_module(n)",
        "import importlib\nimportlib.import_module('.inner', n)",
        "import importlib\nmap(importlib.import_module, names)",
        "e = eval",
        "import builtins\nbuiltins.exec(x)",
        "from os import *",
        "import os\ngetattr(os, n)",
        "import sys\nsys.modules[n]",
        "import pickle\npickle.load(f)",
        "import importlib.util as u\nu.spec_from_file_location('a', p)",
        "from importlib import metadata\nmetadata.entry_points()",
    ],
)
def test_what_analysis_cannot_see_is_named(source: str) -> None:
    assert len(seen(source).unseen) == 1


def test_what_is_no_python_is_named() -> None:
    for source in (b"def", b"\xff\xfe", b"x = " + b"(" * 5000):
        found = analyse({"a.py": source, "b.py": b"import socket"})
        assert (len(found.broken), set(found.uses)) == (1, {"network"})


def test_a_compiled_library_is_native_code() -> None:
    for name in ("p/_x.cpython-311-x86_64-linux-gnu.so", "p/_x.so.3", "p/_x.pyx", "p/data.bin"):
        found = analyse({name: b"\x7fELF"})
        assert (set(found.uses), len(found.compiled)) == ({"native-code"}, 1)
    assert not analyse({"p/data.bin": b"ELF"}).uses


def test_another_name_for_another_name_does_not_grow_without_end() -> None:
    text = "import os\nx = os\n" + "x = x.yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n" * 20_000
    assert seen(text).uses == {}


def test_addresses_in_texts_are_seen_but_not_in_docstrings() -> None:
    found = seen(
        '"""https://a.host.example"""\nx = "see wss://B.host.example:9/x"\ny = f"http://{h}/"\nz = "http://[::1]/"'
    )
    assert {str(destination) for destination in found.destinations} == {"https://b.host.example:9"}


# -- a draft -----------------------------------------------------------------------------------------------------------


def test_a_draft_says_what_the_code_tells(greedy: Path, tmp_path: Path) -> None:
    done = run("manifest draft", greedy, "-o", tmp_path / "draft.json")
    document = json.loads((tmp_path / "draft.json").read_text())
    assert document == done.value["manifest"]
    assert document["plugin_id"] == "greedy_plugin"
    assert document["maturity"] == "beta"
    assert document["entry_points"] == {"connectors": {"greedy": "greedy_plugin:act"}}
    assert {entry["name"] for entry in document["capabilities"]} == {
        "network", "subprocess", "environment", "file-read", "file-write",
    }  # fmt: skip
    assert [entry["host"] for entry in document["allowed_egress"]] == ["api.host.example", "plain.host.example"]
    assert document["secrets"] == ["API_TOKEN"]
    assert document["sdk_allowlist"] == ["attrs", "httpx>=0.27"]
    assert document["hermetic_compatible"] is False
    assert {"owner", "kind", "api_version", "capabilities[0].rationale"} <= set(done.value["unwritten"])
    assert any("eval" in line for line in done.value["unseen"])
    assert code_of("manifest draft", greedy, "-o", tmp_path / "draft.json") == "usage.exists"


def test_a_draft_of_a_wheel(tmp_path: Path) -> None:
    wheel = build_wheel({"p/__init__.py": "import socket\n"}, name="p", entry_points="[g]\nn = p:f\n")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    document = run("manifest draft", tmp_path / wheel.file_name).value["manifest"]
    assert (document["plugin_id"], document["version"]) == ("p", "1.0")
    assert document["entry_points"] == {"g": {"n": "p:f"}}
    assert document["capabilities"][0]["name"] == "network"


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    assert code_of("manifest draft", tmp_path) == "source.unusable"
    (tmp_path / "pyproject.toml").write_text("[project]\nname='p'\nentry-points = 3\n")
    assert code_of("manifest draft", tmp_path) == "format.schema"
    assert code_of("validate", tmp_path / "absent") == "io.failed"


@pytest.mark.parametrize("command", ["validate", "manifest draft"])
def test_a_project_of_which_no_code_is_found_is_not_sound(greedy: Path, command: str) -> None:
    """Of a layout that only its build backend knows, nothing is seen, and so nothing can be said."""
    (greedy / "PLUGIN_MANIFEST.json").write_text(json.dumps(without("network")))
    (greedy / "src").rename(greedy / "python")
    assert code_of(command, greedy) == "source.unusable"


def test_namespaces_links_and_compiled_code_of_a_project_are_seen(greedy: Path, tmp_path: Path) -> None:
    (greedy / "src").rename(greedy / "acme")  # a namespace package: nothing but the package lies in it
    (greedy / "acme" / "greedy_plugin" / "fast.pyx").write_text("")
    (greedy / "acme" / "greedy_plugin" / "linked.py").symlink_to("../../acme/greedy_plugin/__init__.py")
    for aside in ("ci/inner/__init__.py", "utils/inner/__init__.py", "venv/lib/inner/__init__.py"):
        (greedy / aside).parent.mkdir(parents=True)
        (greedy / aside).write_text("import ctypes\n")
    assert set(read_code(greedy).files) == {
        f"acme/greedy_plugin/{name}" for name in ("__init__.py", "fast.pyx", "linked.py")
    }
    (tmp_path / "outside.py").write_text("import socket\n")
    (greedy / "acme" / "greedy_plugin" / "out.py").symlink_to(tmp_path / "outside.py")
    assert code_of("validate", greedy) == "source.unusable"


def test_an_entry_point_of_a_compiled_module_is_there(tmp_path: Path) -> None:
    wheel = build_wheel(
        {"greedy_plugin/__init__.py": "", "greedy_plugin/fast.abi3.so": b"\x7fELF"}, name="greedy-plugin"
    )
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    fields = {"entry_points": {"g": {"n": "greedy_plugin.fast:act"}, "h": {"n": "greedy_plugin.slow:act"}}}
    (tmp_path / "m.json").write_text(json.dumps(honest() | fields))
    said = run("validate", tmp_path / wheel.file_name, "--manifest", tmp_path / "m.json").value["problems"]
    assert [entry["message"] for entry in said if entry["rule"] == "entry-point"] == [
        "h:n is in 'greedy_plugin.slow', which is not there"
    ]


def test_a_draft_is_neither_attested_nor_endorsed(
    project: Project, house: Wheelhouse, signers: Signers, tmp_path: Path
) -> None:
    def refused(action: Callable[[], object]) -> str:
        with pytest.raises(LoadlockError) as caught:
            action()
        return caught.value.code

    declared = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
    # Only the rationale is left: the format alone would take it.
    declared["capabilities"][0]["rationale"] = "TO BE WRITTEN: csv_exporter/__init__.py:10"
    parse_manifest(json.dumps(declared).encode())
    (tmp_path / "draft.json").write_text(json.dumps(declared))
    options = Options(manifest=tmp_path / "draft.json", house=house)
    wheel = build_wheel({"csv_exporter.py": ""}, name="csv-exporter", version="1.0.0")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    assert (
        refused(lambda: attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)) == "manifest.draft"
    )
    place = project({"PLUGIN_MANIFEST.json": json.dumps(declared), "pyproject.toml": PYPROJECT})
    assert refused(lambda: attest_source(place, Options(house=house), signers.builder, now=NOW)) == "manifest.draft"
    (tmp_path / "written.json").write_text((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
    written = Options(manifest=tmp_path / "written.json", house=house)
    made = attest_wheel(tmp_path / wheel.file_name, written, signers.builder, now=NOW)
    unsigned = changed(made.unsigned, capabilities=declared["capabilities"])
    assert refused(lambda: endorsed(replace(made, unsigned=unsigned), signers)) == "manifest.draft"


# -- validation --------------------------------------------------------------------------------------------------------


def test_a_manifest_that_says_it_all_is_sound(greedy: Path) -> None:
    assert problems(greedy, honest()) == {("warning", "unseen")}
    assert run("validate", greedy, "--strict").status == 1


def without(name: str) -> dict[str, Any]:
    document = honest()
    document["capabilities"] = [entry for entry in document["capabilities"] if entry["name"] != name]
    if name == "network":
        document["allowed_egress"] = []
    return document


@pytest.mark.parametrize("name", ["network", "subprocess", "environment", "file-read", "file-write"])
def test_an_undeclared_use_is_an_error(greedy: Path, name: str) -> None:
    assert ("error", "undeclared-capability") in problems(greedy, without(name))


BAD: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "no rationale": ({"capabilities": [{"name": "network"}]}, ("error", "format.schema")),
    "a short rationale": ({"capabilities": [{"name": "network", "rationale": "net"}]}, ("error", "format.schema")),
    "a draft": ({"capabilities": [{"name": "network", "rationale": "TO BE WRITTEN: x"}]}, ("error", "manifest.draft")),
    "one rationale for two": (
        {"capabilities": [{"name": n, "rationale": "we need this"} for n in ("network", "subprocess")]},
        ("error", "rationale"),
    ),
    "a wildcard over all": (
        {"allowed_egress": [{"host": "*", "schemes": ["https"], "ports": [443]}]}, ("error", "format.schema"),
    ),
    "a wildcard over a top-level domain": (
        {"allowed_egress": [{"host": "*.example", "schemes": ["https"], "ports": [443]}]}, ("error", "format.schema"),
    ),
    "another host": (
        {"allowed_egress": [{"host": "other.example", "schemes": ["https"], "ports": [443]}]},
        ("warning", "undeclared-host"),
    ),
    "another port": (
        {"allowed_egress": [{"host": "*.host.example", "schemes": ["https", "http"], "ports": [443]}]},
        ("warning", "undeclared-host"),
    ),
    "no secret": ({"secrets": []}, ("warning", "undeclared-secret")),
    "hermetic": ({"hermetic_compatible": True}, ("error", "hermetic")),
    "another plugin": ({"plugin_id": "other"}, ("error", "plugin-id")),
    "another version": ({"version": "2.0"}, ("error", "version")),
    "an entry point elsewhere": ({"entry_points": {"g": {"n": "other:act"}}}, ("error", "entry-point")),
    "an entry point of another name": ({"entry_points": {"g": {"n": "greedy_plugin:go"}}}, ("warning", "entry-point")),
    "more than is used": (
        {"capabilities": [*honest()["capabilities"], {"name": "native-code", "rationale": "just in case"}]},
        ("warning", "unused-capability"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(greedy: Path, case: str) -> None:
    fields, problem = BAD[case]
    assert problem in problems(greedy, honest() | fields)


def test_an_end_that_is_past(greedy: Path) -> None:
    assert ("error", "expired") in problems(greedy, honest() | {"expires_at": "2020-01-01T00:00:00Z"})
    assert ("error", "expired") not in problems(greedy, honest() | {"expires_at": "2999-01-01T00:00:00Z"})


@pytest.mark.parametrize("line", ['greedy = "greedy_plugin:other"', 'greedy = "greedy_plugin:act"\nmore = "p:x"'])
def test_entry_points_that_only_the_project_knows(greedy: Path, line: str) -> None:
    (greedy / "pyproject.toml").write_text(PYPROJECT.replace('greedy = "greedy_plugin:act"', line))
    assert ("warning", "entry-point") in problems(greedy, honest())


def test_entry_points_of_other_programs_are_no_business_of_the_manifest(greedy: Path) -> None:
    (greedy / "pyproject.toml").write_text(PYPROJECT + '[project.entry-points.elsewhere]\nx = "greedy_plugin:x"\n')
    assert ("warning", "entry-point") not in problems(greedy, honest())


def test_no_manifest_or_none_that_can_be_read(greedy: Path) -> None:
    assert ("error", "manifest.missing") in problems(greedy)
    assert ("error", "format.syntax") in problems(greedy, "{")


def test_an_import_that_no_requirement_names(greedy: Path) -> None:
    (greedy / "src" / "greedy_plugin" / "more.py").write_text("import numpy\nimport attr\n")
    assert ("warning", "undeclared-import") in problems(greedy, honest())


def test_the_example_is_sound() -> None:
    done = test_cli.run("validate", EXAMPLE, "--strict")
    assert (done.status, done.value["problems"]) == (0, [])
