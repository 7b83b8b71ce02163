"""A build that depends on where, when or by whom it is run is refused, and the difference is explained."""

from __future__ import annotations

import textwrap
import threading
from pathlib import Path

import pytest

from attestor.building import build as build_module
from attestor.building import variation
from attestor.building.build import PLAIN, BuildResult, build
from attestor.building.source import EARLIEST_EPOCH, LATEST_EPOCH, Source, describe, export
from attestor.building.variation import MAX_LINES, OTHERWISE, VARIED, build_twice
from attestor.building.wheelhouse import Wheelhouse
from tests.attestor.conftest import EXAMPLE, NOW, Project, git, make_repository
from tests.attestor.test_build import IN_TREE, probe
from verifier.errors import LoadlockError

# A backend that writes a sound wheel, with ``facts()`` in a module of it.
SOUND = """\
import base64, hashlib, os, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    info = "probe-1.0.dist-info/"
    files = {
        "probe.py": FACTS,
        info + "METADATA": "Metadata-Version: 2.3\\nName: probe\\nVersion: 1.0\\n",
        info + "WHEEL": "Wheel-Version: 1.0\\nGenerator: probe\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    rows = [f"{path},sha256={digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[info + "RECORD"] = "\\n".join([*rows, info + "RECORD,,", ""])
    with zipfile.ZipFile(os.path.join(wheel_directory, "probe-1.0-py3-none-any.whl"), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path, DATE), text)
    return "probe-1.0-py3-none-any.whl"
"""


def sound(facts: str = "''", date: str = "(1980, 1, 1, 0, 0, 0)") -> dict[str, str]:
    return {
        "pyproject.toml": IN_TREE.format(requires="[]"),
        "backend.py": SOUND.replace("FACTS", facts).replace("DATE", date),
    }


def twice(place: Path, house: Wheelhouse) -> BuildResult:
    return build_twice(describe(place), house, now=NOW)


def refusal(place: Path, house: Wheelhouse) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        twice(place, house)
    return caught.value


# -- refused -----------------------------------------------------------------------------------------------------------

DEPENDENT = {
    "the path": "os.getcwd()",
    "the encoding of the path": "os.getcwd().isascii()",
    "the time zone": "__import__('time').localtime(0)[:5]",
    "the locale": "__import__('locale').setlocale(0, '')",
    "the hash seed": "hash('probe')",
    "the home directory": "os.path.expanduser('~')",
    "the temporary directory": "__import__('tempfile').gettempdir()",
    "the times of files": "os.stat('pyproject.toml').st_mtime",
    "the clock": "__import__('time').time_ns()",
    "chance": "os.urandom(8)",
}


@pytest.mark.parametrize("on", DEPENDENT)
def test_a_build_that_depends_on_something_else_than_its_inputs_is_refused(
    project: Project, house: Wheelhouse, on: str
) -> None:
    assert refusal(project(probe(facts=DEPENDENT[on])), house).code == "build.not-reproducible"


def test_a_build_that_fails_under_other_conditions_is_refused(project: Project, house: Wheelhouse) -> None:
    error = refusal(project(probe(work="os.getcwd().encode('ascii')")), house)
    assert error.code == "build.not-reproducible"
    assert "UnicodeEncodeError" in error.found


def test_a_build_that_fails_anyhow_is_refused_as_such(project: Project, house: Wheelhouse) -> None:
    assert refusal(project(probe(work="1 / 0")), house).code == "build.failed"


def test_wheels_of_different_names_are_refused(project: Project, house: Wheelhouse) -> None:
    files = probe()
    name = "f\"probe-{1 + (os.environ['TZ'] == 'UTC')}.0-py3-none-any.whl\""
    files["backend.py"] = files["backend.py"].replace('"probe-1.0-py3-none-any.whl"', name)
    error = refusal(project(files), house)
    assert error.code == "build.not-reproducible"
    assert "probe-2.0" in error.found
    assert "probe-1.0" in error.found


# -- explained ---------------------------------------------------------------------------------------------------------


def test_content_that_differs_is_shown(project: Project, house: Wheelhouse) -> None:
    error = refusal(project(sound(facts="'ZONE = ' + repr(os.environ['TZ']) + chr(10)")), house)
    assert error.found.startswith("different:\n")
    assert "probe.py: content: " in error.found
    assert "-ZONE = 'UTC'" in error.found
    assert f"+ZONE = '{OTHERWISE.variables['TZ']}'" in error.found


def test_times_that_differ_are_named(project: Project, house: Wheelhouse) -> None:
    date = "__import__('time').gmtime(os.stat('backend.py').st_mtime)[:6]"
    error = refusal(project(sound(date=date)), house)
    assert error.found.startswith("bit-identical given the zip header table:\n")
    assert "probe.py: time: 2026-01-21 12:53:20 / 2026-01-21 12:54:20" in error.found


def test_an_explanation_is_capped(project: Project, house: Wheelhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variation, "MAX_LINES", 2)
    lines = refusal(project(sound(facts="os.environ['TZ'] * 2")), house).found.splitlines()
    assert len(lines) == 1 + 2 + 1
    assert lines[-1] == "…"
    assert MAX_LINES >= 20


def test_wheels_that_no_reader_accepts_are_not_explained_but_refused(project: Project, house: Wheelhouse) -> None:
    error = refusal(project(probe(facts="os.environ['TZ']")), house)
    assert error.code == "build.not-reproducible"
    assert "cannot be compared" in error.found


# -- passed ------------------------------------------------------------------------------------------------------------


def test_the_recorded_build_is_the_one_under_fixed_inputs(project: Project, house: Wheelhouse) -> None:
    result = twice(project(sound()), house)
    once = build(result.source, house, now=NOW)
    assert result.wheel == once.wheel
    assert result.varied == VARIED
    assert once.varied == ()
    assert result.fixed == once.fixed
    assert result.log == once.log


@pytest.mark.parametrize("moment", [0, EARLIEST_EPOCH, LATEST_EPOCH, LATEST_EPOCH + 10_000])
def test_times_stay_within_what_archives_can_say(house: Wheelhouse, tmp_path: Path, moment: int) -> None:
    facts = "str([1980 <= __import__('time').gmtime(entry.stat().st_mtime)[0] <= 2107 for entry in os.scandir()])"
    place = make_repository(tmp_path / "project", sound(facts=facts))
    tree = git(place, "rev-parse", "HEAD^{tree}")
    raw = textwrap.dedent(
        f"""\
        tree {tree}
        author Alice <alice@host.example> {moment} +0000
        committer Alice <alice@host.example> {moment} +0000

        at the edge of time
        """
    )
    (tmp_path / "commit").write_text(raw)
    commit = git(place, "hash-object", "-t", "commit", "-w", str(tmp_path / "commit"))
    git(place, "reset", "--hard", "--quiet", commit)
    assert twice(place, house).varied == VARIED


def test_two_builds_run_side_by_side_in_one_environment(
    project: Project, house: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2, timeout=60)  # neither passes before the other has come
    places: list[str] = []

    def export_together(source: Source, into: Path) -> Path:
        places.append(into.parent.name)
        if into.parent.name != "requirements":
            meeting.wait()
        return export(source, into)

    monkeypatch.setattr(build_module, "export", export_together)
    assert twice(project(sound()), house).varied == VARIED
    assert set(places) == {"requirements", PLAIN.directory, OTHERWISE.directory}


def test_the_example_is_reproducible(house: Wheelhouse, built: BuildResult, tmp_path: Path) -> None:
    place = make_repository(tmp_path / "csv-exporter", content=EXAMPLE)
    assert twice(place, house).sha256 == built.sha256
