"""What is built: one clean git commit, or one sdist file identified by its digest. Never a working tree in place.

``describe`` says what the source is, ``export`` unpacks exactly that into an empty directory, with fixed file modes and
times. Of a commit only ``subdirectory`` is exported, so what lies elsewhere in the repository cannot reach the build.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal
from urllib.parse import urlsplit

from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from attestor.building.git import git, git_or_nothing, run_git, unusable
from attestor.building.substitutions import refuse_substitutions
from attestor.building.unpack import fix, gunzip, only_directory, read_members, unpack
from verifier.errors import Refused
from verifier.files import read_capped

#: The largest sdist that is read, in bytes.
MAX_SDIST_BYTES = 100_000_000
#: A clone's own attributes file larger than this is not read.
MAX_ATTRIBUTES = 1_000_000
#: zip archives know no time before 1980 and none after 2107: build times stay within.
EARLIEST_EPOCH = 315_532_800
LATEST_EPOCH = 4_354_819_198

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>[^:]+)\Z")
# A directory that is somebody's own, on a server or here: it says who they are, and nobody else can fetch from it.
_SOMEBODYS = re.compile(r"/+(?:~|(?:home|root|Users|tmp|mnt|media)/|[^/]*\\)")
#: A shorter host is the letter of a drive.
MIN_HOST = 2
#: A filter's settings that would change what is exported, and what they are while exporting: no filter.
_NO_FILTER = {"smudge": "", "process": "", "required": "false"}
#: How a file begins that stands for another, which Git LFS keeps elsewhere, and how long it is at most.
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_MAX_POINTER = 1024


@dataclass(frozen=True)
class Source:
    """What was built, in terms that mean the same everywhere.

    Args:
        kind: ``git`` or ``sdist``.
        path: where it lies on this machine; never recorded.
        epoch: the time given to the build (SOURCE_DATE_EPOCH), seconds since 1970: a commit's own time, an sdist's
            newest member.
        commit, tree: of ``git``: the commit, and the tree of ``subdirectory`` in it, as hex object ids.
        repository: of ``git``: the remote's address without user information; empty when there is none to tell.
        ref: of ``git``: the branch or tag that was checked out, in full; empty when detached.
        subdirectory: of ``git``: where in the repository the project lies, ``""`` for its top.
        sha256, purl: of ``sdist``: its digest in hex, and its package URL.
    """

    kind: Literal["git", "sdist"]
    path: Path
    epoch: int
    commit: str = ""
    tree: str = ""
    repository: str = ""
    ref: str = ""
    subdirectory: str = ""
    sha256: str = ""
    purl: str = ""


def describe(path: Path) -> Source:
    """Say what the source at ``path`` is: a directory inside a git repository, or an sdist file.

    Raises:
        Refused: ``source.unusable``, ``source.dirty``, ``source.archive``.
        UsageError: nothing readable is there.
    """
    if path.is_dir():
        return _describe_git(path.resolve())
    return _describe_sdist(path.resolve())


def export(source: Source, into: Path) -> Path:
    """Unpack the source into the empty directory ``into`` and give back the project's own directory in there.

    Files have mode 644 (755 when executable), directories 755, and everything the time ``source.epoch``.

    Raises:
        Refused: ``source.archive``: the archive is malformed, escapes, or unpacks to more than the caps;
            ``source.unusable``: the sdist is no longer the one that was described; the commit has pointers of Git LFS,
            or formats that this clone fills in.
    """
    if source.kind == "git":
        root = into
        # Run in the subdirectory, git archives the commit's content of that subdirectory alone.
        with NamedTemporaryFile() as stream:
            run_git(
                source.path, "archive", "--format=tar", f"--output={stream.name}", source.commit,
                settings=_without_filters(source.path),
            )  # fmt: skip
            unpack(stream, into)
        _refuse_pointers(into)
        refuse_substitutions(source.path, source.commit, into)
    else:
        data = read_capped(source.path, MAX_SDIST_BYTES, "the sdist")
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise Refused("source.unusable", "the sdist changed while it was being attested")
        with gunzip(data) as stream:
            unpack(stream, into)
        root = only_directory(into)
    fix(into, source.epoch)
    return root


def clamp(epoch: float) -> int:
    """The time within what zip archives can say, in whole seconds; what is no number at all is the earliest."""
    return int(max(EARLIEST_EPOCH, min(epoch, LATEST_EPOCH)))


def public_url(remote: str) -> str:
    """A remote's address as it may be published: no user, no password, no query; empty for a local one."""
    scp = _SCP_LIKE.match(remote)
    if scp is not None and "://" not in remote:
        remote = f"ssh://{scp['host']}/{scp['path'].lstrip('/')}"
    try:
        parts = urlsplit(remote)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http", "ssh", "git"} or len(host) < MIN_HOST or _SOMEBODYS.match(parts.path):
        return ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


# -- git ---------------------------------------------------------------------------------------------------------------


def _describe_git(directory: Path) -> Source:
    subdirectory = _subdirectory(directory)
    _refuse_dirty(directory)
    _refuse_local_attributes(directory)
    commit = git(directory, "rev-parse", "--verify", "HEAD^{commit}")
    tree = git(directory, "rev-parse", "--verify", f"{commit}:{subdirectory}")
    if any(line.startswith("160000 ") for line in git(directory, "ls-tree", "-r", "--full-tree", tree).splitlines()):
        raise Refused(
            "source.unusable",
            "the source contains git submodules, whose content the commit does not hold",
            todo="Build an sdist that contains them, and attest that.",
        )
    return Source(
        kind="git",
        path=directory,
        epoch=clamp(int(git(directory, "show", "--no-patch", "--format=%ct", commit))),
        commit=commit,
        tree=tree,
        repository=public_url(git_or_nothing(directory, "config", "--get", "remote.origin.url")),
        ref=_ref(directory),
        subdirectory=subdirectory,
    )


def _subdirectory(directory: Path) -> str:
    """Where the directory lies in the repository; what lies above it there may be called anything."""
    if git(directory, "rev-parse", "--is-inside-work-tree") != "true":
        raise unusable("no working tree")
    prefix = run_git(directory, "rev-parse", "--show-prefix").removesuffix(b"\n").removesuffix(b"/")
    try:
        return prefix.decode("utf-8")
    except UnicodeDecodeError as error:  # a provenance could not say it
        raise unusable(f"the path {prefix[:200]!a} in the repository is not UTF-8") from error


_TAKE_KEYS_OUT = "Move keys out of the project, where one 'git add' would publish them; commit or remove the rest."


def _refuse_dirty(directory: Path) -> None:
    changed = git(directory, "status", "--porcelain=v1", "--untracked-files=normal", "--", ".").splitlines()
    if changed:
        listed = ", ".join(repr(line[3:]) for line in changed[:5])
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise Refused(
            "source.dirty", "the source differs from its commit", found=listed + more,
            todo=_TAKE_KEYS_OUT if any(line.endswith((".pem", ".key", ".pem.pub")) for line in changed) else "",
        )  # fmt: skip


def _refuse_local_attributes(directory: Path) -> None:
    """Attributes that only this clone has would change what is exported, and the commit would not say so."""
    path = directory / git(directory, "rev-parse", "--git-path", "info/attributes")
    if path.is_file() and any(line.strip() and not line.startswith("#") for line in _lines(path)):
        raise Refused(
            "source.unusable",
            "this clone has attributes of its own, which change what is exported",
            found=".git/info/attributes",
            expected="attributes in the commit (.gitattributes) alone",
            todo="Move them into .gitattributes, or attest from another clone.",
        )


def _lines(path: Path) -> list[str]:
    return read_capped(path, MAX_ATTRIBUTES, "the attributes file").decode("utf-8", "replace").splitlines()


def _without_filters(directory: Path) -> dict[str, str]:
    """Settings under which no filter runs: one is a program of this machine, and would export what no commit holds."""
    listed = git_or_nothing(directory, "config", "-z", "--name-only", "--get-regexp", r"^filter\.")
    drivers = {name.rpartition(".")[0] for name in listed.split("\0") if name}
    return {f"{driver}.{setting}": value for driver in sorted(drivers) for setting, value in _NO_FILTER.items()}


def _refuse_pointers(tree: Path) -> None:
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_POINTER:
            continue
        if path.read_bytes().startswith(_POINTER):
            raise Refused(
                "source.unusable", "the source contains files of Git LFS, whose content the commit does not hold",
                found=ascii(path.relative_to(tree).as_posix()[:200]),
                todo="Build an sdist that contains them, and attest that; or keep them out by 'export-ignore'.",
            )  # fmt: skip


def _ref(directory: Path) -> str:
    """The branch that is checked out; of a detached commit, a tag that names it; else nothing."""
    branch = git_or_nothing(directory, "symbolic-ref", "--quiet", "HEAD")
    if branch:
        return branch
    tag = git_or_nothing(directory, "describe", "--exact-match", "--tags", "HEAD")
    return f"refs/tags/{tag}" if tag else ""


def left_out(source: Source, tree: Path) -> list[str]:
    """Files of the commit that the export does not have: attributes in it (``export-ignore``) keep them out.

    Args:
        source: what was exported.
        tree: where :func:`export` put it.

    Returns:
        Their paths in the project's directory, sorted.
    """
    if source.kind != "git":
        return []
    listed = run_git(source.path, "ls-tree", "-r", "-z", source.commit).split(b"\0")
    entries = [entry.partition(b"\t") for entry in listed if entry]
    names = [os.fsdecode(name) for about, _, name in entries if about.split()[1] == b"blob"]
    return sorted(name for name in names if not os.path.lexists(tree / name))


# -- sdist -------------------------------------------------------------------------------------------------------------


def _describe_sdist(path: Path) -> Source:
    data = read_capped(path, MAX_SDIST_BYTES, "the sdist")
    try:
        name, version = parse_sdist_filename(path.name)
    except InvalidSdistFilename as error:
        raise Refused(
            "source.unusable", "the source file is not an sdist", found=repr(path.name), expected="NAME-VERSION.tar.gz"
        ) from error
    with gunzip(data) as stream:
        newest = max((clamp(member.mtime) for member in read_members(stream)), default=EARLIEST_EPOCH)
    return Source(
        kind="sdist",
        path=path,
        epoch=newest,
        sha256=hashlib.sha256(data).hexdigest(),
        purl=f"pkg:pypi/{name}@{version}",
    )
