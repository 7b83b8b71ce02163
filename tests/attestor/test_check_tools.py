"""The single checks, each with the real tool: what fails, what did not run, what passes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import venv
from pathlib import Path

import pytest

from attestor.building.versions import UNKNOWN
from attestor.checking import check_tools
from attestor.checking import ground as grounds
from attestor.checking.check_tools import analyse, review_licences, scan_secrets
from attestor.checking.ground import Found, Ground
from attestor.checking.suite import run_egress_tests, run_tests
from attestor.describing.licences import ALLOWED, Licences

PASSES = "def test_it():\n    import plugin\n    assert plugin.name == 'wheel'\n"
FAILS = "def test_it():\n    assert False\n"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A release with nothing wrong but that it has no tests."""
    for name in ("source", "wheel", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "wheel" / "plugin.py").write_text("name = 'wheel'\n")
    licences = Licences([("plugin", "MIT")], ALLOWED)
    return Ground(tmp_path / "source", tmp_path / "wheel", tmp_path / "scratch", sys.executable, "egress", licences)


def write(place: Path, **files: str) -> None:
    for name, text in files.items():
        path = place / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def outcome(found: Found) -> tuple[str, int | None, str]:
    return found.check.result, found.check.findings, found.check.reason


# -- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"test_a": FAILS}, ("failed", 1, "1 failed, 0 passed")),
        ({"test_a": FAILS, "test_b": PASSES}, ("failed", 1, "1 failed, 1 passed")),
        ({"test_a": "import absent\n"}, ("failed", 1, "1 failed, 0 passed")),
        ({"test_a": "def test_it(absent): ...\n"}, ("failed", 1, "1 failed, 0 passed")),
        ({"other": "x = 1\n"}, ("not-run", None, "no test ran")),
        ({"test_a": "import pytest\n@pytest.mark.skip\ndef test_it(): ...\n"}, ("not-run", None, "no test ran")),
        ({"conftest": "raise SystemExit(0)\n", "test_a": PASSES}, ("not-run", None, "pytest ended with 0")),
        ({"conftest": "import os\nos._exit(3)\n", "test_a": PASSES}, ("not-run", None, "pytest ended with 3")),
    ],
)
def test_what_is_no_pass_is_none(ground: Ground, files: dict[str, str], expected: tuple[str, int | None, str]) -> None:
    write(ground.source, **files)
    assert outcome(run_tests(ground)) == expected


def test_without_pytest_no_test_runs(ground: Ground, tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path / "bare")
    bare = Ground(**{**vars(ground), "python": str(tmp_path / "bare" / "bin" / "python")})
    assert outcome(run_tests(bare)) == ("not-run", None, "pytest is not installed")
    absent = Ground(**{**vars(ground), "python": str(tmp_path / "absent"), "scratch": tmp_path / "bare"})
    assert outcome(run_tests(absent)) == ("not-run", None, "it cannot be started: No such file or directory")


def test_tests_that_hang_are_ended(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    write(ground.source, test_a="import time\ndef test_it(): time.sleep(60)\n")
    monkeypatch.setattr(grounds, "CHECK_SECONDS", 1.0)
    assert outcome(run_tests(ground)) == ("not-run", None, "it took over 1 s")


def test_tests_run_with_the_wheels_modules_in_a_clean_environment(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADLOCK_TOKEN", "secret")
    clean = "import os\ndef test_env():\n    assert 'LOADLOCK_TOKEN' not in os.environ\n"
    write(ground.source, test_a=PASSES, tests__test_b=clean, plugin="name = 'source'\n")
    write(ground.source, tests__conftest="open('left-behind', 'w').close()\n")
    (ground.source / "plugin.py").unlink()
    found = run_tests(ground)
    assert outcome(found) == ("passed", 0, "")
    assert (found.check.tool, found.check.version) == ("pytest", pytest.__version__)
    assert not (ground.source / "left-behind").exists()


MET = "the tests met modules that are not the wheel's: "


@pytest.mark.parametrize(
    ("source", "others"),
    [
        ({"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"}, ""),
        ({"pkg/__init__.py": "", "pkg/a.py": "x = 1  # later\n"}, "pkg.a"),
        ({"pkg/__init__.py": "from pkg import b\n", "pkg/a.py": "x = 1\n", "pkg/b.py": ""}, "pkg, pkg.b"),
        ({"pkg/__init__.py": "", "pkg/a.py": "x = 1\n", "pkg/tests/__init__.py": "", "pkg/tests/test_b.py": ""}, ""),
        ({"src/pkg/__init__.py": "raise ValueError\n"}, ""),
    ],
)
def test_tests_that_met_other_modules_than_the_wheels_tested_something_else(
    ground: Ground, source: dict[str, str], others: str
) -> None:
    """pytest puts the top of the source first, since the tests lie in a package."""
    own = {"tests/__init__.py": "", "tests/test_a.py": "def test_it():\n    from pkg import a\n"}
    in_wheel = {"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"}
    for place, files in ((ground.source, source | own), (ground.wheel, in_wheel)):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    found = run_tests(ground)
    assert outcome(found) == (("not-run", None, MET + others) if others else ("passed", 0, ""))
    assert bool(found.shown) is bool(others)


EGRESS = "import pytest\npytestmark = pytest.mark.egress\n"
INI = "import pytest\ndef pytest_configure(config): config.addinivalue_line('markers', 'egress: shows egress')\n"


def test_egress_tests_are_those_that_are_marked(ground: Ground) -> None:
    write(ground.source, conftest=INI, test_a=FAILS)
    assert outcome(run_egress_tests(ground)) == ("not-run", None, "no test that is marked 'egress' ran")
    write(ground.source, test_b=EGRESS + PASSES)
    again = Ground(**{**vars(ground), "scratch": ground.scratch / "egress-tests"})
    assert outcome(run_egress_tests(again)) == ("passed", 0, "")


def test_egress_tests_may_lie_in_a_place_of_their_own(ground: Ground) -> None:
    write(ground.source, test_a=FAILS, egress__test_b=PASSES)
    assert outcome(run_egress_tests(ground)) == ("passed", 0, "")
    write(ground.scratch, test_c=PASSES)
    outside = Ground(**{**vars(ground), "egress": "../scratch", "scratch": ground.scratch / "egress-tests"})
    assert run_egress_tests(outside).check.result == "not-run"


# -- secrets, code, licences -------------------------------------------------------------------------------------------


def test_a_secret_is_found_and_not_repeated(ground: Ground) -> None:
    planted = "AKIA" + "QWERTYUIOPASDFGH"
    write(ground.source, settings=f"key = '{planted}'\n")
    found = scan_secrets(ground)
    assert outcome(found) == ("failed", 1, "1 finding")
    assert found.shown == ("settings.py:1: AWS Access Key",)
    assert found.check.tool == "detect-secrets"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_secret_is_found_in_whatever_encoding(ground: Ground, encoding: str) -> None:
    text = 'owner = "Zoë"\naws = "' + "AKIA" + 'IOSFODNN7EXAMPLF"\n'
    (ground.source / "settings.py").write_bytes(text.encode(encoding))
    found = scan_secrets(ground)
    assert outcome(found) == ("failed", 1, "1 finding")
    assert (found.remarks[0].path, found.remarks[0].line) == ("settings.py", 2)
    assert (ground.source / "settings.py").read_bytes() == text.encode(encoding)


@pytest.mark.parametrize(
    "name", ["poetry.lock", "web/style.css", "icon.svg", "swagger/api.py", "app.map", ".prefs", "data.BIN"]
)
def test_a_secret_is_found_in_files_that_the_scanner_passes_over_by_name(ground: Ground, name: str) -> None:
    digests = "".join(f'"integrity": "sha512-{hashlib.sha512(bytes([n])).hexdigest()}"\n' for n in range(9))
    place = ground.source / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(digests)
    assert outcome(scan_secrets(ground)) == ("passed", 0, "")
    place.write_text(digests + 'token = "' + "ghp_" + '16C7e42F292c6912E7710c838347Ae178B4a"\n')
    found = scan_secrets(ground)
    assert outcome(found) == ("failed", 1, "1 finding")
    assert (found.remarks[0].path, found.remarks[0].line) == (name, 10)


def test_names_that_no_text_can_hold_are_scanned(ground: Ground) -> None:
    place = Path(os.fsdecode(os.fsencode(ground.source) + b"/a\xff\n.py"))
    place.write_text("key = '" + "AKIA" + "QWERTYUIOPASDFGH'\n")
    found = scan_secrets(ground)
    assert outcome(found) == ("failed", 1, "1 finding")
    assert found.shown == (r"a\udcff\n.py:1: AWS Access Key",)


def test_without_a_secret_the_scan_passes(ground: Ground) -> None:
    write(ground.source, settings="name = 'wheel'\n")
    assert outcome(scan_secrets(ground)) == ("passed", 0, "")


def test_unsafe_code_in_the_wheel_is_found_whatever_it_is_called_and_configured(ground: Ground) -> None:
    write(ground.wheel, build__tool="import pickle\npickle.loads(b'')\n", bad="def (\n")
    (ground.wheel / "ruff.toml").write_text("[lint]\nignore = ['S']\n")
    (ground.wheel / ".gitignore").write_text("*\n")
    found = analyse(ground)
    assert found.check.result == "failed"
    assert any(line.startswith("build/tool.py:2: S301 ") for line in found.shown)
    assert any(line.startswith("bad.py:1: ") for line in found.shown)
    assert found.check.findings == len(found.shown)


def test_a_module_that_the_tool_cannot_decode_is_a_finding(ground: Ground) -> None:
    code = "# -*- coding: latin-1 -*-\nimport subprocess\nowner = 'Zoë'\nsubprocess.call(owner, shell=True)\n"
    (ground.wheel / "plugin.py").write_bytes(code.encode("latin-1"))
    found = analyse(ground)
    assert outcome(found) == ("failed", 1, "1 finding")
    assert found.shown == ("plugin.py is not in UTF-8, and was not analysed",)


def test_safe_code_passes(ground: Ground) -> None:
    assert outcome(analyse(ground)) == ("passed", 0, "")


def test_a_wheel_without_python_was_not_analysed(ground: Ground) -> None:
    (ground.wheel / "plugin.py").rename(ground.wheel / "plugin.abi3.so")
    found = analyse(ground)
    assert outcome(found) == ("not-run", None, "there is no Python code in the wheel")


def test_a_licence_that_was_not_agreed_to_is_found(ground: Ground) -> None:
    assert outcome(review_licences(ground)) == ("passed", 0, "")
    bad = Licences([("plugin", "GPL-3.0-only"), ("alpha", "")], ALLOWED)
    found = review_licences(Ground(**{**vars(ground), "licences": bad}))
    assert outcome(found) == ("failed", 2, "2 findings")
    assert found.shown[1] == "alpha: it states no licence expression"


@pytest.mark.parametrize("tool", [scan_secrets, analyse, review_licences])
def test_a_tool_that_is_not_installed_did_not_run(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tool: check_tools.Tool
) -> None:
    monkeypatch.setattr(check_tools, "version_of", lambda _: UNKNOWN)
    found = tool(ground)
    assert found.check.result == "not-run"
    assert found.check.reason.endswith(" is not installed")


@pytest.mark.parametrize("printed", ["no json", "{}", "[1]", ""])
def test_what_cannot_be_read_is_no_pass(ground: Ground, printed: str) -> None:
    argv = [sys.executable, "-c", f"print({printed!r})"]
    tool = check_tools._Tool("secrets", "ruff", ground, ground.source, lambda report: [report["results"]])
    found = tool.found(argv, argv)
    assert outcome(found) == ("not-run", None, "what ruff printed cannot be read")


def test_a_tool_that_fails_is_no_pass(ground: Ground) -> None:
    argv = [sys.executable, "-c", "print('[]'); raise SystemExit(2)"]
    fine = [sys.executable, "-c", "print('[]')"]
    tool = check_tools._Tool("secrets", "ruff", ground, ground.source, list)
    assert outcome(tool.found(fine, fine)) == ("passed", 0, "")
    for given in ((argv, fine), (fine, argv)):
        assert outcome(tool.found(*given)) == ("not-run", None, "ruff ended with 2")


# -- what is passed over by comments, and what is told to CI systems ---------------------------------------------------


def test_what_comments_in_the_code_take_out_is_counted(ground: Ground) -> None:
    planted = "AKIA" + "QWERTYUIOPASDFGH"
    write(ground.source, settings=f"key = '{planted}'  # pragma: allowlist secret\n")
    secrets = scan_secrets(ground)
    assert (outcome(secrets), secrets.check.suppressed) == (("passed", 0, ""), 1)
    write(ground.wheel, one="import pickle\npickle.loads(b'')  # noqa: S301\n")
    write(ground.wheel, whole="# ruff: noqa\nimport pickle\npickle.loads(b'')\neval('1')\n")
    code = analyse(ground)
    assert (outcome(code), code.check.suppressed) == (("passed", 0, ""), 3)
    write(ground.wheel, more="eval('1')\n")
    code = analyse(ground)
    assert (outcome(code), code.check.suppressed) == (("failed", 1, "1 finding"), 3)


def test_a_baseline_of_ones_own_hides_no_secret(ground: Ground) -> None:
    planted = "AKIA" + "QWERTYUIOPASDFGH"
    write(ground.source, settings=f"key = '{planted}'\n")
    found = scan_secrets(ground)
    baseline = {"version": "1.5.0", "plugins_used": [], "filters_used": [], "results": {"settings.py": [
        {"type": "AWS Access Key", "filename": "settings.py", "line_number": 1, "is_secret": False,
         "hashed_secret": hashlib.sha1(planted.encode(), usedforsecurity=False).hexdigest()},
    ]}}  # fmt: skip
    (ground.source / ".secrets.baseline").write_text(json.dumps(baseline))
    again = scan_secrets(ground)
    assert found.remarks[0] in again.remarks
    assert again.check.result == "failed"


@pytest.mark.parametrize("options", ["-k nothing", "--collect-only", "--ignore=test_a.py"])
def test_options_of_the_projects_own_do_not_make_a_pass_of_what_did_not_run(ground: Ground, options: str) -> None:
    write(ground.source, test_a=PASSES)
    (ground.source / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n")
    assert run_tests(ground).check.result == "not-run"


@pytest.mark.parametrize("mark", ["xfail(strict=False)", "xfail(run=False)", "skipif(True, reason='slow')"])
def test_a_test_that_is_let_fail_is_no_test_that_passed(ground: Ground, mark: str) -> None:
    write(ground.source, test_a=f"import pytest\n@pytest.mark.{mark}\n{FAILS}")
    assert run_tests(ground).check.result == "not-run"


def test_what_is_told_points_into_the_source(ground: Ground) -> None:
    write(ground.wheel, plugin="eval('1')\n", made="eval('1')\n")
    write(ground.source, src__plugin="eval('1')\n", test_a=f"\n{FAILS}", test_b="import absent\n")
    assert [(entry.path, entry.line, entry.rule) for entry in analyse(ground).remarks] == [
        ("made.py", 1, "S307"), ("src/plugin.py", 1, "S307"),
    ]  # fmt: skip
    failed = {(entry.path, entry.line): entry.message for entry in run_tests(ground).remarks}
    assert failed == {("test_b.py", None): "test_b.py failed"}  # nothing is run when a test cannot be collected
    (ground.source / "test_b.py").unlink()
    again = Ground(**{**vars(ground), "scratch": ground.scratch / "again"})
    again.scratch.mkdir()
    assert {(entry.path, entry.line): entry.message for entry in run_tests(again).remarks} == {
        ("test_a.py", 2): "test_a.py::test_it failed"
    }
