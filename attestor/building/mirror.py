"""The source that a provenance names, got from where it can be had, and held against its digests."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from attestor.building import processes
from attestor.building.recipe import SCHEMES, Recipe
from attestor.building.source import Source, describe
from attestor.checking.leaks import redact
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError

#: How long fetching a commit may take, in seconds.
FETCH_SECONDS = 300.0

#: Settings that would run programs of this machine, change what is checked out, or reach where nothing should.
_GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "-c", "core.fsmonitor=false",
        "-c", "core.attributesFile=/dev/null", "-c", "protocol.allow=never", "-c", "protocol.file.allow=always",
        *(part for scheme in sorted(SCHEMES) for part in ("-c", f"protocol.{scheme}.allow=always")))  # fmt: skip


def obtain(recipe: Recipe, given: Path | None, scratch: Path) -> Source:
    """Get the source and describe it, as it was described when the wheel was built.

    Args:
        recipe: says what the source is.
        given: a local mirror of the repository, or the sdist; None: the repository is fetched from where it was.
        scratch: an empty directory.

    Raises:
        UsageError: ``usage.arguments``: the source has to be given, or is of another kind.
        Unreachable: ``unreachable.server``: the repository does not answer, or does not have the commit.
        Refused: ``provenance.source``: what was got is something else; ``source.*``.
    """
    source = _sdist(recipe, given) if recipe.kind == "sdist" else _git(recipe, given, scratch)
    return replace(source, epoch=recipe.fixed.epoch, repository=recipe.repository, ref=recipe.ref)


def _sdist(recipe: Recipe, given: Path | None) -> Source:
    if given is None or not given.is_file():
        raise UsageError(
            "usage.arguments", "the wheel was built from an sdist, which has to be given",
            expected=f"--source FILE with sha256:{recipe.sha256}", todo="Fetch the sdist and name its file.",
        )  # fmt: skip
    source = describe(given)
    if source.sha256 != recipe.sha256:
        raise Refused(
            "provenance.source", "this is not the sdist that the wheel was built from",
            found=f"sha256:{source.sha256}", expected=f"sha256:{recipe.sha256}", todo="Fetch the sdist named.",
        )  # fmt: skip
    return replace(source, purl=recipe.purl)


def _git(recipe: Recipe, given: Path | None, scratch: Path) -> Source:
    if given is not None and not given.is_dir():
        raise UsageError(
            "usage.arguments", "the wheel was built from a commit, so the source is a repository",
            found=repr(given.name), expected="--source DIR",
        )  # fmt: skip
    if given is None and not recipe.repository:
        raise UsageError(
            "usage.arguments", "the provenance names no address of the repository",
            expected="--source DIR", todo=f"Name a clone that has the commit {recipe.commit}.",
        )  # fmt: skip
    clone = scratch / "clone"
    _fetch(os.fspath(given.resolve()) if given else recipe.repository, recipe.commit, clone)
    place = clone / recipe.subdirectory
    if not place.is_dir() or not place.resolve().is_relative_to(clone.resolve()):
        raise Refused("provenance.source", "the commit has no such subdirectory", found=repr(recipe.subdirectory))
    source = describe(place)
    if (source.commit, source.tree) != (recipe.commit, recipe.tree):
        raise Refused(
            "provenance.source", "the commit's tree is another than the provenance says",
            found=source.tree, expected=recipe.tree,
            todo="Treat the provenance as damaged: ask the builder.",
        )  # fmt: skip
    return source


def _fetch(address: str, commit: str, into: Path) -> None:
    """One commit, without its history, in a new repository of its own."""
    into.mkdir()
    form = "sha1" if len(commit) == 40 else "sha256"
    for arguments in (
        ("init", "--quiet", "--template=", f"--object-format={form}"),
        ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1", "--", address, commit),
        ("checkout", "--quiet", "--detach", commit),
    ):
        done = _run(into, arguments)
        if done.status != 0:
            raise _not_had(address, commit, redact(done.tail()) or "no answer in time")


def _run(directory: Path, arguments: tuple[str, ...]) -> processes.Finished:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C.UTF-8", "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        return processes.run([*_GIT, *arguments], cwd=directory, environ=environ, seconds=FETCH_SECONDS)
    except FileNotFoundError as error:
        raise UsageError("usage.configuration", "git is not installed", todo="Install git.") from error


def _not_had(address: str, commit: str, said: str) -> LoadlockError:
    what = f"the commit {commit} cannot be had"
    if "://" in address:
        return Unreachable(
            "unreachable.server", what, found=said, expected=redact(address), todo="Name a local clone with --source."
        )
    return Refused(
        "provenance.source", f"{what} from the repository given", found=said,
        expected="the top of a clone, or a bare repository, that has the commit",
        todo="Fetch the commit into it, or name another.",
    )  # fmt: skip
