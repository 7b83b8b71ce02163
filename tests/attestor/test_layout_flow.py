"""A plugin whose policy names a layout: from the build to a host that asks for it, by the real commands."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadlock.stage import Stage, example_plugin
from verifier.errors import LoadlockError

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"
LAYOUT = """\
expires = "2099-01-31T00:00:00Z"
readme = "How csv-exporter is released."

[keys]
builder = "builder.pub"

[[step]]
name = "build"
by = ["builder"]
command = {command}
products = [["CREATE", "dist/*.whl"], ["CREATE", "dist/*.jsonl"], ["CREATE", "dist/*.json"], ["CREATE", "dist/*.log"]]
"""


@dataclass(frozen=True)
class Release:
    """A plugin that was built as its layout says, and is signed for by all three."""

    stage: Stage
    token: Path
    layout: Path
    links: Path
    payload: str

    @property
    def wheel(self) -> Path:
        """The wheel."""
        return self.stage.root / "work" / "dist" / WHEEL

    @property
    def chain(self) -> tuple[str | Path, ...]:
        """The options that name layout and links."""
        return ("--layout", self.layout, "--links", self.links)

    def publish(self, *options: str | Path) -> dict[str, Any]:
        """Hand it to the server."""
        return self.stage.run(
            "publish", self.wheel, "--server", self.stage.url, "--token-file", self.token, *options,
            deployment=self.stage.operator,
        )  # fmt: skip

    def refused(self, *options: str | Path) -> str:
        """The code that publishing is refused with."""
        with pytest.raises(LoadlockError) as caught:
            self.publish(*options)
        return caught.value.code

    def certify(self, *options: str | Path) -> None:
        """Certify for the highest tier."""
        words = ("certify", self.wheel, "--tier", "core", "--expires", "2098-01-01", "--yes", *options)
        self.stage.run(*words, deployment=self.stage.operator)

    def policy(self, old: str, new: str) -> None:
        """Change the policy's text and sign it."""
        path = self.stage.operator / "policy.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        self.stage.run("trust", "policy", deployment=self.stage.operator)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, build_wheels: Path) -> Iterator[Release]:
    root = tmp_path_factory.mktemp("layout").resolve()
    stage = Stage(root)
    stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url)
    roles = ("--builder", "builder", "--owner", "owner", "--certifier", "certifier")
    stage.run("trust", "add-plugin", "csv_exporter", *roles, deployment=stage.operator)
    token = root / "token"
    token.write_text(stage.run("token", "create", "ci", "--role", "publisher", deployment=stage.operator)["token"])
    principals = stage.operator / "principals"
    work = root / "work"
    shutil.copytree(stage.repository(example_plugin(), "csv-exporter"), work)
    _public(principals / "builder.pem", root / "builder.pub")
    shutil.copytree(build_wheels, work.with_name("wheels"))
    # The key is named by the environment, so that the command that is laid out is the same for everybody.
    command = ["loadlock", "attest", ".", "-o", "dist", "--build-wheelhouse", "../wheels"]
    (root / "layout.toml").write_text(LAYOUT.format(command=json.dumps(command)))
    signed = stage.run(
        "layout", "sign", root / "layout.toml", "--key", principals / "owner.pem", "-o", root / "layout.json"
    )
    here = Path.cwd()
    os.chdir(work)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOADLOCK_KEY", str(principals / "builder.pem"))
            patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            stage.run("step", "run", "build", "--products", "dist", "--links", root / "links", "--", *command)
    finally:
        os.chdir(here)
    stage.run("endorse", work / "dist" / WHEEL, deployment=stage.operator)
    made = Release(stage, token, root / "layout.json", root / "links", signed["payload"])
    made.certify()
    rule = f'[plugins."csv_exporter"]\nlayout = {{ payload = "{made.payload}", owner = "owner" }}\n'
    made.policy('[plugins."csv_exporter"]\n', rule)
    stage.start_server()
    try:
        yield made
    finally:
        stage.stop_server()


def _public(private: Path, public: Path) -> None:
    from attestor.signing.signers import load_signer, public_pem

    public.write_bytes(public_pem(load_signer(private).public_key))


def test_without_links_it_is_not_admitted(release: Release) -> None:
    assert release.refused() == "layout.missing"


def test_what_is_not_fulfilled_is_not_even_sent(release: Release, tmp_path: Path) -> None:
    stage = release.stage
    principals = stage.operator / "principals"
    options = ("step", "run", "build", "--key", principals / "builder.pem", "--links", tmp_path, "--", "true")
    stage.run(*options)
    assert release.refused("--layout", release.layout, "--links", tmp_path) == "layout.command"


def test_another_layout_of_the_owners_is_not_admitted(release: Release, tmp_path: Path) -> None:
    text = (release.stage.root / "layout.toml").read_text().replace("How csv", "Another way that csv")
    other = release.stage.root / "other.toml"
    other.write_text(text)
    owner = release.stage.operator / "principals" / "owner.pem"
    release.stage.run("layout", "sign", other, "--key", owner, "-o", tmp_path / "other.json")
    assert release.refused("--layout", tmp_path / "other.json", "--links", release.links) == "layout.other"


def test_a_layout_by_somebody_else_is_not_sent(release: Release, tmp_path: Path) -> None:
    builder = release.stage.operator / "principals" / "builder.pem"
    release.stage.run(
        "layout", "sign", release.stage.root / "layout.toml", "--key", builder, "-o", tmp_path / "mine.json"
    )
    assert release.refused("--layout", tmp_path / "mine.json", "--links", release.links) == "signature.unknown-signer"


@pytest.mark.parametrize("alone", ["--layout", "--links"])
def test_layout_and_links_go_together(alone: str, release: Release) -> None:
    assert release.refused(alone, release.layout) == "usage.arguments"


def test_with_its_links_it_is_admitted_and_the_log_says_so(release: Release) -> None:
    assert release.publish(*release.chain)["ok"] is True
    log = (release.stage.operator / "public").rglob("*")
    assert not [path for path in log if path.suffix == ".link" or "chain" in path.name]
    entries = release.stage.run("audit", "log", deployment=release.stage.operator)
    assert entries["ok"] is True


def test_a_host_wants_a_certification_that_names_the_layout(release: Release) -> None:
    stage = release.stage
    release.policy(
        '[tiers.core]\nisolation = "in-process"\nrequire = ["provenance", "sbom", "certification"]',
        '[tiers.core]\nisolation = "in-process"\nrequire = ["provenance", "sbom", "certification", "layout"]',
    )
    release.certify()
    assert release.refused(*release.chain) == "certification.layout"
    release.certify(*release.chain)
    assert release.publish(*release.chain)["ok"] is True
    root = stage.run("trust", "policy", deployment=stage.operator)["root"]
    stage.run("host", "enroll", stage.url, "--root", root, deployment=stage.host)
    assert stage.run("verify", release.wheel, deployment=stage.host)["ok"] is True


def test_a_policy_that_names_none_looks_at_none_and_says_so(release: Release) -> None:
    release.policy(f'layout = {{ payload = "{release.payload}", owner = "owner" }}\n', "")
    release.policy(', "layout"]', "]")
    release.certify()
    warnings = release.publish(*release.chain)["answer"]["warnings"]
    assert [warning for warning in warnings if "names no layout" in warning]
