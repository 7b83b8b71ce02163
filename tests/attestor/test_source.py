"""What may be built: a clean commit or a well-formed sdist, and nothing else."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.building import source, unpack
from attestor.building.source import describe, export, public_url
from tests.attestor.conftest import COMMIT_TIME, Project, git, make_repository
from verifier.errors import LoadlockError, Refused


def code_of(path: Path) -> str:
    with pytest.raises(LoadlockError) as caught:
        export(describe(path), _empty(path.parent / "out"))
    return caught.value.code


def _empty(place: Path) -> Path:
    place.mkdir()
    return place


def sdist(place: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    place.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
    return place


def member(
    name: str, data: bytes = b"x", *, mode: int = 0o600, mtime: float = 1_700_000_000, **changes: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, mtime
    for field, value in changes.items():
        setattr(info, field, value)
    return info, data


# -- git: refused ------------------------------------------------------------------------------------------------------


def test_a_directory_outside_of_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert code_of(tmp_path / "plain") == "source.unusable"


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(_empty(tmp_path / "new"), "init", "--quiet")
    assert code_of(tmp_path / "new") == "source.unusable"


@pytest.mark.parametrize("change", ["edited", "staged", "removed", "untracked"])
def test_a_dirty_tree_is_refused_and_the_file_named(repository: Path, change: str) -> None:
    path = repository / ("new.py" if change == "untracked" else "README.md")
    path.unlink() if change == "removed" else path.write_text("changed")
    if change == "staged":
        git(repository, "add", "README.md")
    with pytest.raises(Refused) as caught:
        describe(repository)
    assert caught.value.code == "source.dirty"
    assert path.name in caught.value.found


def test_a_key_in_the_project_is_not_to_be_committed(repository: Path) -> None:
    (repository / "builder.pem").write_text("a private key")
    with pytest.raises(Refused) as caught:
        describe(repository)
    assert "Move keys out of the project" in caught.value.todo


def test_submodules_are_refused(tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner", {"a.py": ""})
    outer = make_repository(tmp_path / "outer", {"b.py": ""})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    git(outer, "commit", "--quiet", "--message=submodule")
    assert code_of(outer) == "source.unusable"


def test_attributes_that_only_this_clone_has_are_refused(repository: Path) -> None:
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text("# a comment alone is fine\n")
    describe(repository)
    (repository / ".git" / "info" / "attributes").write_text("README.md export-ignore\n")
    assert code_of(repository) == "source.unusable"


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadlockError) as caught:
        describe(tmp_path / "absent-1.0.tar.gz")
    assert caught.value.code == "io.failed"


# -- sdist: refused ----------------------------------------------------------------------------------------------------


def test_another_file_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"hello")
    assert code_of(tmp_path / "notes.txt") == "source.unusable"


@pytest.mark.parametrize("damage", ["not gzip", "cut off", "not tar", "header broken"])
def test_a_damaged_sdist_is_refused(tmp_path: Path, damage: str) -> None:
    good = sdist(tmp_path / "good-1.0.tar.gz", [member("p-1.0/a.py", os.urandom(5000))]).read_bytes()
    tar = bytearray(gzip.decompress(good))
    tar[150] ^= 0xFF
    data = {
        "not gzip": b"PK\x03\x04" + good,
        "cut off": good[:-900],
        "not tar": gzip.compress(b"a" * 5000),
        "header broken": gzip.compress(bytes(tar)),
    }[damage]
    (tmp_path / "p-1.0.tar.gz").write_bytes(data)
    assert code_of(tmp_path / "p-1.0.tar.gz") == "source.archive"


@pytest.mark.parametrize(
    "members",
    [
        [member("p-1.0/a.py"), member("p-1.0/../../out.py")],
        [member("/absolute.py")],
        [member("p-1.0/link", b"", type=tarfile.SYMTYPE, linkname="../../elsewhere")],
        [member("p-1.0/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        [
            member("p-1.0/a/b/up", b"", type=tarfile.SYMTYPE, linkname="../.."),
            member("p-1.0/out", b"", type=tarfile.SYMTYPE, linkname="a/b/up/../../elsewhere"),
        ],
        [
            member("p-1.0/a/b.py"),
            member("p-1.0/link", b"", type=tarfile.SYMTYPE, linkname="a"),
            member("p-1.0/link/c.py"),
        ],
        [
            member("p-1.0/link", b"", type=tarfile.SYMTYPE, linkname="a"),
            member("p-1.0/link", b"", type=tarfile.DIRTYPE),
        ],
        [member("p-1.0/a.py"), member("p-1.0/a.py/b.py")],
        [member("p-1.0/a/b.py"), member("p-1.0/a")],
        [member("p-1.0/link", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [member("p-1.0/link", b"", type=tarfile.LNKTYPE, linkname="p-1.0/../../elsewhere")],
        [member("p-1.0/link", b"", type=tarfile.LNKTYPE, linkname="p-1.0/later.py"), member("p-1.0/later.py")],
        [
            member("p-1.0/soft", b"", type=tarfile.SYMTYPE, linkname="a.py"),
            member("p-1.0/hard", b"", type=tarfile.LNKTYPE, linkname="p-1.0/soft"),
        ],
        [member("p-1.0/device", b"", type=tarfile.CHRTYPE)],
        [member("p-1.0/pipe", b"", type=tarfile.FIFOTYPE)],
        [member("p-1.0/" + "n" * 300)],
        [member("p-1.0/a.py", pax_headers={"path": "p-1.0/a\0b"})],
        [member("p-1.0/a.py"), member("p-1.0/a.py", b"y")],
        [member("p-1.0/a.py"), member("p-1.0/./a.py", b"y")],
        [member("p-1.0/a.py"), member("q-1.0/a.py")],
        [member("a.py")],
        [],
    ],
    ids=[
        "escape",
        "absolute",
        "symlink out",
        "absolute symlink",
        "symlink out through another",
        "file through a symlink",
        "directory over a symlink",
        "file below a file",
        "file over a directory",
        "absolute hard link",
        "hard link out",
        "hard link to a later file",
        "hard link to a symlink",
        "device",
        "pipe",
        "name too long",
        "null byte",
        "twice",
        "twice spelt",
        "two tops",
        "flat",
        "empty",
    ],
)
def test_a_hostile_sdist_is_refused(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    assert code_of(sdist(tmp_path / "p-1.0.tar.gz", members)) == "source.archive"
    assert not (tmp_path / "out.py").exists()


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_TREE_BYTES", 100_000)
    path = sdist(tmp_path / "p-1.0.tar.gz", [member("p-1.0/a.py", b"\0" * 200_000)])
    assert path.stat().st_size < 2_000
    assert code_of(path) == "source.archive"


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_TREE_ENTRIES", 10)
    assert code_of(sdist(tmp_path / "p-1.0.tar.gz", [member(f"p-1.0/{n}.py") for n in range(11)])) == "source.archive"


def test_an_oversized_sdist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_SDIST_BYTES", 50)
    assert code_of(sdist(tmp_path / "p-1.0.tar.gz", [member("p-1.0/a.py")])) == "format.too-large"


def test_an_sdist_that_changes_after_it_was_described_is_refused(tmp_path: Path) -> None:
    path = sdist(tmp_path / "p-1.0.tar.gz", [member("p-1.0/a.py")])
    described = describe(path)
    sdist(path, [member("p-1.0/a.py", b"evil")])
    with pytest.raises(Refused) as caught:
        export(described, _empty(tmp_path / "out"))
    assert caught.value.code == "source.unusable"


@given(position=st.integers(0, 4095), value=st.integers(0, 255))
def test_no_damage_to_an_archive_is_anything_but_a_refusal(position: int, value: int) -> None:
    with TemporaryDirectory() as name:
        place = Path(name)
        members = [member("p-1.0/a.py", b"x" * 600, pax_headers={"mtime": "1.5", "path": "p-1.0/ü.py"})]
        tar = bytearray(gzip.decompress(sdist(place / "p-1.0.tar.gz", members).read_bytes()))
        tar[position % len(tar)] = value
        (place / "p-1.0.tar.gz").write_bytes(gzip.compress(bytes(tar)))
        with suppress(LoadlockError):
            export(describe(place / "p-1.0.tar.gz"), _empty(place / "out"))


# -- accepted ----------------------------------------------------------------------------------------------------------


def test_a_commit_is_told_without_credentials(repository: Path) -> None:
    found = describe(repository)
    assert (found.kind, found.epoch, found.ref, found.subdirectory) == ("git", COMMIT_TIME, "refs/heads/main", "")
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert found.tree == git(repository, "rev-parse", "HEAD^{tree}")
    assert found.repository == "https://host.example/reporting/csv-exporter.git"


def test_a_detached_commit_is_told_by_its_tag(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    assert describe(repository).ref == ""
    git(repository, "tag", "v1.0.0")
    assert describe(repository).ref == "refs/tags/v1.0.0"


def test_the_commit_is_exported_with_fixed_modes_and_times(project: Project, tmp_path: Path) -> None:
    place = project({"a/run.sh": "#!/bin/sh\n", "a/b.py": "x = 1\n", ".gitignore": "*.log\n"})
    (place / "a" / "run.sh").chmod(0o700)
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=mode")
    (place / "ignored.log").write_text("not part of the commit")
    (place / "a" / "b.py").chmod(0o600)
    root = export(describe(place), _empty(tmp_path / "out"))
    seen = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*")}
    assert {name: oct(stat.st_mode & 0o777) for name, stat in seen.items()} == {
        ".gitignore": "0o644", "a": "0o755", "a/b.py": "0o644", "a/run.sh": "0o755",
    }  # fmt: skip
    assert {stat.st_mtime for stat in seen.values()} == {COMMIT_TIME}


def test_of_a_subdirectory_only_that_is_exported_and_must_be_clean(project: Project, tmp_path: Path) -> None:
    place = project({"plugin/p.py": "x = 1\n", "elsewhere.py": "y = 1\n"})
    (place / "elsewhere.py").write_text("changed")
    found = describe(place / "plugin")
    assert found.subdirectory == "plugin"
    assert found.tree == git(place, "rev-parse", "HEAD:plugin")
    root = export(found, _empty(tmp_path / "out"))
    assert [path.name for path in root.iterdir()] == ["p.py"]


def test_settings_of_the_machine_do_not_change_what_is_exported(project: Project, tmp_path: Path) -> None:
    place = project({"a.txt": "one\ntwo\n", "keep.txt": "kept\n"})
    (place / "attributes").write_text("a.txt eol=crlf\nkeep.txt export-ignore\n")
    git(place, "config", "core.attributesFile", str(place / "attributes"))
    git(place, "config", "core.autocrlf", "true")
    git(place, "config", "core.fsmonitor", "touch ran; false")
    (place / ".git" / "info" / "exclude").write_text("attributes\n")
    root = export(describe(place), _empty(tmp_path / "out"))
    assert (root / "a.txt").read_bytes() == b"one\ntwo\n"
    assert (root / "keep.txt").exists()
    assert not (place / "ran").exists()


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\n", b"a line\nand another"])
def test_the_repository_may_lie_in_a_directory_of_any_name(project: Project, tmp_path: Path, name: bytes) -> None:
    place = tmp_path / os.fsdecode(name)
    project({"plugin/p.py": "x = 1\n"}).rename(place)
    assert [describe(place).subdirectory, describe(place / "plugin").subdirectory] == ["", "plugin"]


def test_a_subdirectory_that_no_statement_can_name_is_refused(project: Project) -> None:
    place = project({f"{os.fsdecode(bytes([0xE9]))}/p.py": "x = 1\n"})
    assert code_of(place / os.fsdecode(bytes([0xE9]))) == "source.unusable"


def test_a_repositorys_own_directory_is_no_source(project: Project) -> None:
    assert code_of(project({"a.py": ""}) / ".git") == "source.unusable"


def test_a_filter_of_this_machine_does_not_change_what_is_exported(project: Project, tmp_path: Path) -> None:
    place = project({".gitattributes": "*.txt filter=o=d.d\n*.py filter=long\n", "a.txt": "one\n", "b.py": "x = 1\n"})
    found = describe(place)
    git(place, "config", "filter.o=d.d.smudge", "touch ../ran; sed s/one/666/")
    git(place, "config", "filter.long.process", "touch ../ran; false")
    git(place, "config", "filter.long.required", "true")
    root = export(found, _empty(tmp_path / "out"))
    assert [(root / name).read_text() for name in ("a.txt", "b.py")] == ["one\n", "x = 1\n"]
    assert not list(tmp_path.rglob("ran"))


def test_line_ends_are_those_that_the_commit_asks_for(project: Project, tmp_path: Path) -> None:
    place = project({".gitattributes": "* text\n", "a.txt": "one\n"})
    git(place, "config", "core.eol", "crlf")
    root = export(describe(place), _empty(tmp_path / "out"))
    assert (root / "a.txt").read_bytes() == b"one\n"


def test_objects_that_a_clone_puts_in_the_place_of_the_commits_are_not_exported(
    project: Project, tmp_path: Path
) -> None:
    place = project({"a.py": "honest = 1\n"})
    (place / ".git" / "other").write_text("hidden = 1\n")
    git(place, "replace", git(place, "rev-parse", "HEAD:a.py"), git(place, "hash-object", "-w", ".git/other"))
    root = export(describe(place), _empty(tmp_path / "out"))
    assert (root / "a.py").read_text() == "honest = 1\n"


@pytest.mark.parametrize("text", ["%D", "%d", "%(describe:tags)", "%h", "%ar", "%G?", "%aN", "%H\n%D"])
def test_what_only_a_clone_says_is_not_put_into_the_source(project: Project, tmp_path: Path, text: str) -> None:
    """Its branches' and tags' names, its settings, the clock: another clone of the commit would export other bytes."""
    files = {
        ".gitattributes": "v.txt export-subst\n",
        "v.txt": f"$Format:%H$ $Format:{text}$\n",
        "doc.md": "$Format:%D$\n",
    }
    place = project(files)
    git(place, "branch", "a-name-of-my-own")
    with pytest.raises(Refused) as caught:
        export(describe(place), _empty(tmp_path / "out"))
    assert caught.value.code == "source.unusable"
    assert "v.txt" in caught.value.found


def test_what_the_commit_fixes_is_put_into_the_source(project: Project, tmp_path: Path) -> None:
    files = {
        ".gitattributes": "*.txt export-subst eol=crlf\n", "v.txt": "$Format:%H %cI %%$\n", "doc.md": "$Format:%D$\n",
        "left/.gitattributes": "* export-ignore\n", "left/w.txt": "$Format:%D$\n", "b.txt": "$Format\n",
    }  # fmt: skip
    place = project(files)
    found = describe(place)
    root = export(found, _empty(tmp_path / "out"))
    assert (root / "v.txt").read_text().startswith(found.commit)
    assert (root / "doc.md").read_text() == "$Format:%D$\n"


def test_a_signed_commit_is_described_whatever_is_shown_of_signatures(project: Project, tmp_path: Path) -> None:
    """Many show signatures in every log; what git says of one is no time."""
    place = project({"a.py": "x = 1\n"})
    program = tmp_path / "signs"
    program.write_text("#!/bin/sh\ncat > /dev/null\necho signed\nprintf '\\n[GNUPG:] SIG_CREATED \\n' >&2\n")
    program.chmod(0o755)
    for name, value in (("gpg.program", str(program)), ("user.signingkey", "mine"), ("log.showSignature", "true")):
        git(place, "config", name, value)
    git(place, "commit", "--quiet", "--amend", "-S", "--no-edit")
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    assert describe(place).epoch == COMMIT_TIME
    assert not (tmp_path / "ran").exists()


def test_pointers_of_git_lfs_are_refused(project: Project) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    assert code_of(project({"a.py": "x = 1\n", "data/model.bin": pointer})) == "source.unusable"


def test_an_sdist_is_identified_by_its_digest_and_timed_by_its_newest_member(tmp_path: Path) -> None:
    path = sdist(
        tmp_path / "My_Plugin-1.0.tar.gz",
        [member("my_plugin-1.0/a.py", mtime=1_600_000_000), member("my_plugin-1.0/b.py", mtime=1_600_000_500.5)],
    )
    found = describe(path)
    assert (found.kind, found.purl, found.epoch) == ("sdist", "pkg:pypi/my-plugin@1.0", 1_600_000_500)
    root = export(found, _empty(tmp_path / "out"))
    assert sorted(entry.name for entry in root.iterdir()) == ["a.py", "b.py"]
    assert {entry.stat().st_mode & 0o777 for entry in root.iterdir()} == {0o644}


def test_links_within_the_tree_are_kept(tmp_path: Path) -> None:
    members = [
        member("p-1.0", b"", type=tarfile.DIRTYPE, mode=0o700),
        member("p-1.0/./a/run.sh", b"#!/bin/sh", mode=0o777),
        member("p-1.0/a/same.sh", b"", type=tarfile.LNKTYPE, linkname="p-1.0/a/run.sh"),
        member("p-1.0/b/up.sh", b"", type=tarfile.SYMTYPE, linkname="../a/./run.sh"),
        member("p-1.0/b/top", b"", type=tarfile.SYMTYPE, linkname="../.."),
        member("p-1.0/nothing", b"", type=tarfile.SYMTYPE, linkname="absent"),
        member("p-1.0/itself", b"", type=tarfile.SYMTYPE, linkname="itself"),
    ]
    root = export(describe(sdist(tmp_path / "p-1.0.tar.gz", members)), _empty(tmp_path / "out"))
    links = {path.name: os.readlink(path) for path in root.rglob("*") if path.is_symlink()}
    assert links == {"up.sh": "../a/./run.sh", "top": "../..", "nothing": "absent", "itself": "itself"}
    for name in ("a/run.sh", "a/same.sh", "b/up.sh", "b/top/p-1.0/a/run.sh"):
        assert (root / name).read_bytes() == b"#!/bin/sh"
    assert {oct((root / "a" / name).lstat().st_mode & 0o7777) for name in ("run.sh", "same.sh")} == {"0o755"}


@pytest.mark.parametrize(
    ("mtime", "epoch"),
    [(0, 315_532_800), (2**36, 4_354_819_198), (float("inf"), 4_354_819_198), (float("nan"), 315_532_800)],
)
def test_times_stay_within_what_zip_archives_know(tmp_path: Path, mtime: float, epoch: int) -> None:
    # Times that a tar header cannot hold stand in an extended one, where any text may stand.
    path = sdist(tmp_path / "p-1.0.tar.gz", [member("p-1.0/a.py", mtime=0, pax_headers={"mtime": str(mtime)})])
    found = describe(path)
    assert found.epoch == epoch
    assert (export(found, _empty(tmp_path / "out")) / "a.py").stat().st_mtime == epoch


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("https://host.example/a/b.git", "https://host.example/a/b.git"),
        ("https://user:secret@host.example:8443/a/b.git?token=x#y", "https://host.example:8443/a/b.git"),
        ("ssh://git@host.example/a/b.git", "ssh://host.example/a/b.git"),
        ("git@host.example:a/b.git", "ssh://host.example/a/b.git"),
        ("host.example:/a/b.git", "ssh://host.example/a/b.git"),
        ("/home/alice/b.git", ""),
        ("../b.git", ""),
        ("file:///home/alice/b.git", ""),
        ("https://host.example:port/a", ""),
        ("alice:hunter2@host.example:a/b.git", ""),
        ("//alice:hunter2@host.example/a/b.git", ""),
        ("https://alice:pa/ss@host.example/a/b.git", ""),
        ("host.example:/home/alice/b.git", ""),
        ("git@host.example:~alice/b.git", ""),
        ("ssh://host.example/~alice/b.git", ""),
        ("C:\\Users\\alice\\b", ""),
        ("helper::https://alice:hunter2@host.example/a", ""),
        ("ssh://git@[2001:db8::1]:22/a/b.git", "ssh://[2001:db8::1]:22/a/b.git"),
        ("", ""),
    ],
)
def test_remotes_are_told_without_user_secret_or_local_path(remote: str, told: str) -> None:
    assert public_url(remote) == told
