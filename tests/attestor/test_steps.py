"""A step: what is recorded, what is signed, and when nothing is."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from attestor.signing.steps import StepOptions, file_of, read_chain, run_step
from loadlock.cli import invoke
from loadlock.stage import Recorder
from tests.attestor.conftest import Signers
from verifier.errors import LoadlockError
from verifier.formats.dsse import parse_envelope
from verifier.formats.layout import StepName, parse_link

COPY = [sys.executable, "-c", "import shutil; shutil.copyfile('src/a.txt', 'dist/a.txt')"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a source and room for what is made of it."""
    for name in ("src", "dist", "src/.git"):
        (tmp_path / name).mkdir()
    (tmp_path / "src" / "a.txt").write_text("a")
    (tmp_path / "src" / "a.txt~").write_text("too")
    (tmp_path / "src" / ".git" / "HEAD").write_text("not this")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*command: str, materials: tuple[str, ...] = ("src",), products: tuple[str, ...] = ("dist",)) -> StepOptions:
    """A step named ``copy``."""
    return StepOptions(StepName("copy"), command, materials, products)


@pytest.mark.parametrize("path", ["/etc", "../src", "src/../../x", "", "missing"])
def test_a_path_that_leads_elsewhere_or_nowhere(path: str, signers: Signers, place: Path) -> None:
    touch = [sys.executable, "-c", "open('ran', 'w')"]
    with pytest.raises(LoadlockError) as caught:
        run_step(options(*touch, materials=(path,)), signers.builder)
    assert caught.value.code == "usage.arguments"
    assert not (place / "ran").exists()


def test_a_product_that_was_not_made(signers: Signers) -> None:
    with pytest.raises(LoadlockError) as caught:
        run_step(options(sys.executable, "-c", "", products=("wheel",)), signers.builder)
    assert caught.value.code == "usage.arguments"


@pytest.mark.parametrize("status", [1, 2, 127])
def test_a_command_that_fails(status: int, signers: Signers) -> None:
    with pytest.raises(LoadlockError) as caught:
        run_step(options(sys.executable, "-c", f"raise SystemExit({status})"), signers.builder)
    assert caught.value.code == "step.failed"
    assert str(status) in caught.value.found


def test_a_command_that_is_not_there(signers: Signers) -> None:
    with pytest.raises(LoadlockError) as caught:
        run_step(options("no-such-program"), signers.builder)
    assert caught.value.code == "usage.arguments"


@pytest.mark.parametrize(
    "word", ["/home/alice/x", "https://alice:hunter2@host.example/x", "ghp_0123456789abcdefghijABCDEFGHIJ"]
)
def test_a_command_that_would_give_something_away(word: str, signers: Signers) -> None:
    with pytest.raises(LoadlockError) as caught:
        run_step(options("true", word), signers.builder)
    assert caught.value.code == "leak.found"
    assert word not in str(caught.value)


def test_a_file_whose_name_would_give_something_away(signers: Signers, place: Path) -> None:
    (place / "src" / "ghp_0123456789abcdefghijABCDEFGHIJ").write_text("")
    with pytest.raises(LoadlockError) as caught:
        run_step(options("true"), signers.builder)
    assert caught.value.code == "leak.found"


def test_what_is_recorded_and_signed(signers: Signers, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    (place / "copy.py").write_text("import shutil; shutil.copyfile('src/a.txt', 'dist/a.txt')")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    link, signed = run_step(options("python", "copy.py"), signers.builder)
    digest = hashlib.sha256(b"a").hexdigest()
    assert {path: found.sha256 for path, found in link.products.items()} == {"dist/a.txt": digest}
    assert set(link.materials) == {"src/a.txt", "src/a.txt~"}
    assert link.command == ("python", "copy.py")
    assert (link.byproducts, link.environment) == ({"return-value": 0}, {})
    envelope = parse_envelope(signed)
    (signature,) = envelope.signatures
    signers.builder.public_key.verify(signature.sig, envelope.signed_bytes)
    assert parse_link(envelope.unverified_payload) == link
    assert file_of(link, signers.builder) == f"copy.{signers.builder.public_key.id.hex[:8]}.link"


def test_the_command_line(signers: Signers, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    words = [
        "step",
        "run",
        "say",
        "--key",
        str(signers.place / "builder.pem"),
        "--links",
        "links",
        "--materials",
        "src",
    ]
    invoke([*words, "--", "echo", "--json", "--", "-o", "said"], recorder)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "--json -- -o said\n")
    payload = json.loads(parse_envelope(Path(recorder.value["link"]).read_bytes()).unverified_payload)
    assert payload["command"] == ["echo", "--json", "--", "-o", "said"]
    assert recorder.value["step"] == "say"


def test_the_name_of_a_step_is_no_path(signers: Signers) -> None:
    with pytest.raises(LoadlockError) as caught:
        invoke(["step", "run", "../x", "--key", str(signers.place / "builder.pem"), "--", "true"], Recorder())
    assert caught.value.code == "usage.arguments"


@pytest.mark.parametrize("odd", ["pipe", "broken", "loop", "bytes"])
def test_what_is_no_file_is_refused_with_its_name(signers: Signers, place: Path, odd: str) -> None:
    if odd == "pipe":
        os.mkfifo(place / "src" / "odd")
    elif odd == "bytes":
        Path(os.fsdecode(os.fsencode(place) + b"/src/odd\xff")).write_text("")
    else:
        (place / "src" / "odd").symlink_to("nowhere" if odd == "broken" else "odd")
    with pytest.raises(LoadlockError) as caught:
        run_step(options(*COPY), signers.builder)
    assert caught.value.code == "usage.arguments"
    assert "odd" in caught.value.found
    assert not (place / "dist" / "a.txt").exists()


def test_a_link_to_a_directory(signers: Signers, place: Path) -> None:
    (place / "src" / "more").symlink_to(place / "dist")
    with pytest.raises(LoadlockError) as caught:
        run_step(options("true"), signers.builder)
    assert caught.value.code == "usage.arguments"


def test_a_directory_without_links(place: Path) -> None:
    (place / "layout.json").write_text("{}")
    with pytest.raises(LoadlockError) as caught:
        read_chain(place / "layout.json", place / "src")
    assert caught.value.code == "usage.arguments"
