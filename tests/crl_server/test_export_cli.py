"""``loadlock export``, and exports of a server's process."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from tests.crl_server.copies import contents, read_copy
from tests.crl_server.deployments import digest, made, revoke
from tests.crl_server.test_cli import ended, refused, run, serving
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("engine")

NOW = utc_now().replace(microsecond=0)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    authority = made(tmp_path / "acme", now=NOW)
    revoke(authority, "first", now=NOW)
    authority.close()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    return tmp_path / "acme"


def settings(deployment: Path, *names: str) -> list[Path]:
    """Exports to directories of these names."""
    roots = [deployment.parent / name for name in names]
    text = "".join(f'[[export]]\nname = "{root.name}"\ndirectory = "{root}"\n' for root in roots)
    (deployment / "server" / "settings.toml").write_text(text)
    return roots


def test_a_directory_is_exported_to_once(deployment: Path, tmp_path: Path) -> None:
    (done,) = run("export", "--to", tmp_path / "copy")["exports"]
    assert (done["name"], done["epoch"], done["seq"]) == ("to", 1, 1)
    assert read_copy(tmp_path / "copy", NOW).lists(digest("first"))


def test_the_settings_say_where_to(deployment: Path) -> None:
    one, other = settings(deployment, "one", "other")
    assert [done["name"] for done in run("export", "other")["exports"]] == ["other"]
    assert not one.exists()
    assert [done["written"] > 0 for done in run("export")["exports"]] == [True, False]
    assert contents(one) == contents(other)


def test_what_cannot_be_meant_is_refused(deployment: Path, tmp_path: Path) -> None:
    assert refused("export").code == "usage.arguments"
    settings(deployment, "one")
    assert refused("export", "two").code == "usage.arguments"
    assert refused("export", "one", "--to", tmp_path).code == "usage.arguments"
    assert refused("export", "--to", tmp_path / "copy", "--keep", "a day").code == "usage.arguments"
    (deployment / "server" / "settings.toml").write_text("[[exports]]")
    assert refused("export").code == "format.schema"


def test_a_server_exports_what_anybody_publishes_and_ends_when_told_to(deployment: Path) -> None:
    (root,) = settings(deployment, "mirror")
    with serving(deployment) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        until((root / "enrolment.json").exists)
        run("revoke", digest("second"), "--reason", "mistake")
        until(lambda: read_copy(root, utc_now()).lists(digest("second")))
        process.send_signal(signal.SIGTERM)
        assert ended(process)[::2] == (0, "")
    assert contents(root).keys() <= contents(deployment / "public").keys()


def test_a_place_that_fails_does_not_keep_a_revocation_back(deployment: Path) -> None:
    (root,) = settings(deployment, "mirror")
    root.write_text("a file, where a directory should be")
    with serving(deployment) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        run("revoke", digest("second"), "--reason", "mistake")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "the export mirror lags behind" in errors
    assert errors.count("lags behind") == 1
    authority = Authority(deployment)
    assert authority.standing(utc_now()).revocations.lists(digest("second"))
    authority.close()
