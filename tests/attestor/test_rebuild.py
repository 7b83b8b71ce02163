"""Rebuilding: from the provenance alone, with the words for each verdict, and signed by somebody else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from attestor.building.build import build
from attestor.building.rebuild import REBUILDER, RebuildOptions, Rebuilt, rebuild, with_rebuild
from attestor.building.source import describe
from attestor.building.wheelhouse import Wheelhouse
from attestor.checking.leaks import LeakGate
from attestor.describing.provenance import LOCAL_BUILDER, make_provenance
from attestor.pipeline import Attestation, Options, attest_source
from attestor.signing.signers import KeySigner
from attestor.signing.statements import draft
from tests.attestor.conftest import EXAMPLE, NOW, Signers, git, make_repository
from tests.attestor.test_cli import code_of, elsewhere, run  # noqa: F401 - elsewhere is used by pytest
from tests.attestor.test_variation import sound
from verifier.errors import LoadlockError
from verifier.formats.bundle import dump_set, parse_set
from verifier.formats.statement import PROVENANCE, Provenance, parse_provenance, parse_statement
from verifier.formats.strict_json import dumps
from verifier.judging.evidence import verified_payload
from verifier.progress import SILENT
from verifier.wheels.wheel import read_wheel


@dataclass(frozen=True)
class Released:
    """An attested wheel, and the repository that it came from."""

    made: Attestation
    place: Path


@pytest.fixture(scope="module")
def released(house: Wheelhouse, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The example, in a subdirectory of a repository that has gone on since."""
    place = tmp_path_factory.mktemp("released") / "repository"
    shutil.copytree(EXAMPLE, place / "plugins" / "csv", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    make_repository(place, {"README": "two plugins"})
    made = attest_source(place / "plugins" / "csv", Options(house=house), signers.builder, now=NOW)
    (place / "README").write_text("gone on")
    git(place, "commit", "--quiet", "--all", "--message=second")
    git(place, "rm", "-r", "--quiet", "plugins")
    git(place, "commit", "--quiet", "--message=third")
    return Released(made, place)


def again(made: Attestation, signers: Signers, signer: KeySigner | None = None, **options: Any) -> Rebuilt:
    return rebuild(
        made.wheel, made.file_name, made.attestations, [signers.builder.public_key], RebuildOptions(**options), signer,
        now=NOW, progress=SILENT,
    )  # fmt: skip


def refusal(made: Attestation, signers: Signers, signer: KeySigner | None = None, **options: Any) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        again(made, signers, signer, **options)
    return caught.value


def resigned(made: Attestation, signers: Signers, provenance: Provenance) -> Attestation:
    """The same wheel with another provenance by the builder."""
    snapshot = read_wheel(made.wheel, made.file_name)
    bundle = draft(snapshot, PROVENANCE, dumps(provenance), LeakGate(provenance.runDetails.builder.id)).sign(
        signers.builder
    )
    return replace(made, attestations=dump_set((bundle,)))


def provenance_of(made: Attestation) -> Provenance:
    return parse_provenance(parse_statement(parse_set(made.attestations)[0].envelope.unverified_payload).predicate)


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_builder_does_not_rebuild_its_own_work(released: Released, signers: Signers, house: Wheelhouse) -> None:
    options = {"source": released.place, "house": house}
    assert refusal(released.made, signers, signers.builder, **options).code == "roles.not-disjoint"
    error = refusal(released.made, signers, signers.stranger, rebuilder_id=LOCAL_BUILDER, **options)
    assert error.code == "usage.arguments"


def test_a_source_of_another_kind_is_refused(
    released: Released, signers: Signers, house: Wheelhouse, tmp_path: Path
) -> None:
    file = tmp_path / "x-1.0.tar.gz"
    file.touch()
    assert refusal(released.made, signers, house=house, source=file).code == "usage.arguments"


def test_a_repository_without_the_commit_is_refused(
    released: Released, signers: Signers, house: Wheelhouse, tmp_path: Path
) -> None:
    for place in (make_repository(tmp_path / "other", {"x": "y"}), tmp_path):
        error = refusal(released.made, signers, house=house, source=place)
        assert error.code == "provenance.source"
        assert error.exit_status == 1


def test_another_tree_than_the_provenance_says_is_refused(
    released: Released, signers: Signers, house: Wheelhouse
) -> None:
    told = dumps(provenance_of(released.made)).decode()
    tree = provenance_of(released.made).buildDefinition.resolvedDependencies[0].digest["gitTree"]
    lying = resigned(released.made, signers, parse_provenance(told.replace(tree, "1" * 40).encode()))
    assert refusal(lying, signers, house=house, source=released.place).code == "provenance.source"
    moved = resigned(released.made, signers, parse_provenance(told.replace("plugins/csv", "plugins/tsv").encode()))
    assert refusal(moved, signers, house=house, source=released.place).code == "provenance.source"


def test_a_wheelhouse_without_the_locked_wheels_is_refused(
    released: Released, signers: Signers, house: Wheelhouse, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    error = refusal(released.made, signers, house=Wheelhouse(tmp_path / "empty"), source=released.place)
    assert error.code == "build.unlocked"
    assert house.folder is not None
    shutil.copytree(house.folder, tmp_path / "damaged")
    (damaged,) = (tmp_path / "damaged").glob("hatchling-*.whl")
    damaged.write_bytes(damaged.read_bytes() + b"\0")
    error = refusal(released.made, signers, house=Wheelhouse(tmp_path / "damaged"), source=released.place)
    assert error.code == "build.unlocked"


def test_a_repository_that_does_not_answer_is_unreachable(
    released: Released, signers: Signers, house: Wheelhouse
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers
        address = f"git://127.0.0.1:{taken.getsockname()[1]}/x.git"
        error = refusal(resigned(released.made, signers, at(released.made, address)), signers, house=house)
    assert (error.code, error.exit_status) == ("unreachable.server", 3)


def test_without_an_address_the_source_has_to_be_given(released: Released, signers: Signers, house: Wheelhouse) -> None:
    error = refusal(resigned(released.made, signers, at(released.made, "")), signers, house=house)
    assert error.code == "usage.arguments"
    assert "--source" in error.expected


def at(made: Attestation, address: str) -> Provenance:
    """The provenance, with another address of the repository."""
    told = json.loads(dumps(provenance_of(made)))
    told["buildDefinition"]["externalParameters"]["repository"] = address
    return parse_provenance(json.dumps(told).encode())


# -- bit-identical -----------------------------------------------------------------------------------------------------


def test_the_wheel_comes_out_again_from_a_local_mirror(released: Released, signers: Signers, house: Wheelhouse) -> None:
    done = again(released.made, signers, house=house, source=released.place)
    assert done.build.wheel == released.made.wheel
    assert done.refusal() is None
    assert done.differences == ()
    assert done.attestations is None


def test_a_bare_mirror_will_do(released: Released, signers: Signers, house: Wheelhouse, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(released.place), "mirror.git")
    assert again(released.made, signers, house=house, source=tmp_path / "mirror.git").refusal() is None


@contextlib.contextmanager
def served(place: Path) -> Iterator[str]:
    """The address at which git's own server offers the repositories below ``place`` on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr"]
    server = subprocess.Popen([*words, f"--base-path={place}", str(place)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield f"git://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_without_a_mirror_the_commit_is_fetched_from_where_it_was(
    released: Released, signers: Signers, house: Wheelhouse
) -> None:
    with served(released.place.parent) as address:
        told = at(released.made, f"{address}/repository/.git")
        done = again(resigned(released.made, signers, told), signers, house=house)
    assert done.refusal() is None
    assert (
        done.build.source.commit
        == provenance_of(released.made).buildDefinition.resolvedDependencies[0].digest["gitCommit"]
    )


def test_an_sdist_is_held_against_its_digest(signers: Signers, house: Wheelhouse, tmp_path: Path) -> None:
    place = make_repository(tmp_path / "csv-exporter", content=EXAMPLE)
    sdist = tmp_path / "csv_exporter-1.0.0.tar.gz"
    git(place, "archive", "--format=tar.gz", "--prefix=csv_exporter-1.0.0/", f"--output={sdist}", "HEAD")
    made = attest_source(sdist, Options(house=house, once=True), signers.builder, now=NOW)
    assert again(made, signers, house=house, source=sdist).refusal() is None
    assert refusal(made, signers, house=house).code == "usage.arguments"
    assert refusal(made, signers, house=house, source=place).code == "usage.arguments"
    git(place, "archive", "--format=tar.gz", "--prefix=csv_exporter-1.0.1/", f"--output={sdist}", "HEAD")
    assert refusal(made, signers, house=house, source=sdist).code == "provenance.source"


def test_umask_and_variables_are_those_of_the_provenance(signers: Signers, house: Wheelhouse, tmp_path: Path) -> None:
    place = make_repository(
        tmp_path / "probe", sound(facts="repr((os.umask(0), os.environ.get('TZ'), os.environ.get('LANG')))")
    )
    result = build(describe(place), house, now=NOW)
    told = make_provenance(result, builder_id=LOCAL_BUILDER)
    variables = {name: value for name, value in result.fixed.variables.items() if name != "LANG"} | {"TZ": "AWAY-1"}
    told.buildDefinition.internalParameters.update(umask="0027", environment=variables)
    made = resigned(Attestation(result.file_name, result.wheel, b"", None, b""), signers, told)  # type: ignore[arg-type]
    done = again(made, signers, house=house, source=place)
    with zipfile.ZipFile(io.BytesIO(done.build.wheel)) as wheel:
        assert wheel.read("probe.py").decode() == repr((0o027, "AWAY-1", None))
    error = done.refusal()
    assert error is not None
    assert error.code == "rebuild.different"


def test_what_is_not_the_same_or_not_signed_is_no_part_of_a_set(
    released: Released, signers: Signers, house: Wheelhouse
) -> None:
    told: dict[str, Any] = {"house": house, "source": released.place}
    with pytest.raises(LoadlockError) as caught:
        with_rebuild(released.made.attestations, again(released.made, signers, **told))
    assert caught.value.code == "usage.arguments"
    published = (released.made.file_name, retouched(released.made.wheel))
    with pytest.raises(LoadlockError) as caught:
        with_rebuild(
            released.made.attestations, again(released.made, signers, signers.stranger, published=published, **told)
        )
    assert caught.value.code == "rebuild.header-table"


# -- other verdicts ----------------------------------------------------------------------------------------------------


def retouched(wheel: bytes, method: int = zipfile.ZIP_DEFLATED, level: int | None = None, year: int = 2030) -> bytes:
    """The same files, written by another hand."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as source, zipfile.ZipFile(out, "w", method, compresslevel=level) as target:
        for entry in source.infolist():
            made = zipfile.ZipInfo(entry.filename, (year, 1, 1, 0, 0, 0))
            made.external_attr, made.compress_type = entry.external_attr, method
            target.writestr(made, source.read(entry), compresslevel=level)
    return out.getvalue()


@pytest.mark.parametrize(
    ("published", "code"),
    [
        (retouched, "rebuild.header-table"),
        (lambda wheel: retouched(wheel, level=1), "rebuild.content"),
    ],
)
def test_a_published_wheel_is_compared_and_the_worst_verdict_counts(
    released: Released, signers: Signers, house: Wheelhouse, published: Any, code: str
) -> None:
    theirs = published(released.made.wheel)
    done = again(
        released.made, signers, signers.stranger, house=house, source=released.place,
        published=(released.made.file_name, theirs),
    )  # fmt: skip
    error = done.refusal()
    assert error is not None
    assert error.code == code
    assert "published" in error.what
    rebuilt_says = statement_of(done, signers)["buildDefinition"]["internalParameters"]["rebuild"]["verdicts"]
    assert rebuilt_says[f"sha256:{hashlib.sha256(released.made.wheel).hexdigest()}"] == "bit-identical"
    assert rebuilt_says[f"sha256:{hashlib.sha256(theirs).hexdigest()}"] == str(done.comparisons["published"].verdict)


def test_a_published_file_that_is_no_wheel_is_refused(released: Released, signers: Signers, house: Wheelhouse) -> None:
    published = (released.made.file_name, released.made.wheel + b"\0")
    error = refusal(released.made, signers, house=house, source=released.place, published=published)
    assert error.code == "wheel.archive"
    assert error.what.startswith("the published wheel cannot be compared")


def test_another_interpreter_and_zlib_are_said_in_words(
    released: Released, signers: Signers, house: Wheelhouse
) -> None:
    told = json.loads(dumps(provenance_of(released.made)))
    told["buildDefinition"]["internalParameters"]["zlib"] = "1.3.1.zlib-ng"
    told["buildDefinition"]["resolvedDependencies"][1]["uri"] = "pkg:generic/cpython@3.11.0"
    made = resigned(released.made, signers, parse_provenance(json.dumps(told).encode()))
    done = again(made, signers, house=house, source=released.place)
    assert [line.partition(":")[0] for line in done.differences] == [
        "another interpreter", "another zlib, which may compress to other bytes",
    ]  # fmt: skip
    assert done.refusal() is None, "the verdict is about bytes, not about how they came"


# -- signed ------------------------------------------------------------------------------------------------------------


def statement_of(done: Rebuilt, signers: Signers) -> dict[str, Any]:
    """The rebuilder's provenance, once its signature has been verified."""
    assert done.attestations is not None
    (bundle,) = parse_set(done.attestations)
    statement = parse_statement(verified_payload(bundle, signers.stranger.public_key))
    assert statement.predicate_type == PROVENANCE
    assert statement.sha256 == done.build.sha256
    found: dict[str, Any] = json.loads(statement.predicate)
    return found


def test_the_rebuilder_signs_its_own_provenance(released: Released, signers: Signers, house: Wheelhouse) -> None:
    done = again(released.made, signers, signers.stranger, house=house, source=released.place)
    told, original = statement_of(done, signers), json.loads(dumps(provenance_of(released.made)))
    assert told["runDetails"]["builder"]["id"] == REBUILDER
    first, second = original["buildDefinition"], told["buildDefinition"]
    assert second["resolvedDependencies"] == first["resolvedDependencies"]
    assert second["externalParameters"] == first["externalParameters"]
    payload = parse_set(released.made.attestations)[0].envelope.unverified_payload
    extra = second["internalParameters"].pop("rebuild")
    assert extra == {
        "provenance": f"sha256:{hashlib.sha256(payload).hexdigest()}",
        "verdicts": {f"sha256:{hashlib.sha256(released.made.wheel).hexdigest()}": "bit-identical"},
    }
    differs = {
        name for name, value in first["internalParameters"].items() if second["internalParameters"][name] != value
    }
    assert differs == {"reproducibility"}
    assert second["internalParameters"]["reproducibility"] == "not checked"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(released: Released, tmp_path: Path) -> Path:
    """The wheel on disk, its set beside it; the wheel's path."""
    wheel = tmp_path / "dist" / released.made.file_name
    wheel.parent.mkdir()
    wheel.write_bytes(released.made.wheel)
    wheel.with_name(f"{wheel.name}.attestations.jsonl").write_bytes(released.made.attestations)
    return wheel


@pytest.fixture
def words(released: Released, signers: Signers, build_wheels: Path) -> list[Any]:
    place = signers.place
    return [
        "--source", released.place, "--wheelhouse", build_wheels, "--builder-key", place / "builder.pem.pub",
    ]  # fmt: skip


def test_the_command_needs_keys_and_places(beside: Path, words: list[Any], signers: Signers, tmp_path: Path) -> None:
    assert code_of("rebuild", beside, *words) == "usage.key"
    assert code_of("rebuild", beside, "--unsigned") == "usage.key"
    key = ("--key", signers.place / "stranger.pem")
    assert code_of("rebuild", beside, *words, *key, "--unsigned") == "usage.arguments"
    assert code_of("rebuild", beside, *words, *key, "--source", tmp_path / "absent") == "usage.arguments"
    assert code_of("rebuild", beside, *words, *key, "--wheelhouse", tmp_path / "absent") == "usage.arguments"
    assert code_of("rebuild", beside, *words, *key, "--published", tmp_path / "absent.whl") == "io.failed"
    assert code_of("rebuild", beside, *words, *key, "-o", beside.parent) == "usage.exists"
    assert sorted(path.name for path in beside.parent.iterdir()) == [beside.name, f"{beside.name}.attestations.jsonl"]


def test_the_command_says_the_verdict_and_writes_beside_the_set(
    beside: Path, words: list[Any], signers: Signers, tmp_path: Path
) -> None:
    before = beside.with_name(f"{beside.name}.attestations.jsonl").read_bytes()
    done = run("rebuild", beside, *words, "--key", signers.place / "stranger.pem", "-o", tmp_path / "kept")
    assert done.status == 0
    assert done.value["ok"] is True
    assert done.value["comparisons"]["wheel"]["verdict"] == "bit-identical"
    assert any(line.split() == ["verdict", "bit-identical"] for line in done.lines)
    assert Path(done.value["kept"]).read_bytes() == beside.read_bytes()
    assert len(parse_set(Path(done.value["statement"]).read_bytes())) == 1
    assert done.value["statement"] == f"{beside}.rebuild.jsonl"
    assert beside.with_name(f"{beside.name}.attestations.jsonl").read_bytes() == before


def test_the_verdict_goes_into_the_set_when_asked_for_and_only_when_the_bytes_are_the_same(
    beside: Path, words: list[Any], signers: Signers, tmp_path: Path
) -> None:
    attestations = beside.with_name(f"{beside.name}.attestations.jsonl")
    before = attestations.read_bytes()
    key = ("--key", signers.place / "stranger.pem")
    assert code_of("rebuild", beside, *words, "--unsigned", "--add") == "usage.arguments"
    published = tmp_path / "elsewhere" / beside.name
    published.parent.mkdir()
    published.write_bytes(retouched(beside.read_bytes()))
    output = run("rebuild", beside, *words, *key, "--add", "--published", published)
    assert (output.status, output.value["statement"]) == (1, f"{beside}.rebuild.jsonl")
    assert attestations.read_bytes() == before
    for _ in range(2):  # the second takes the first one's place
        output = run("rebuild", beside, *words, *key, "--add")
        assert (output.status, output.value["statement"]) == (0, str(attestations))
        added = parse_set(attestations.read_bytes())
        assert added[:-1] == parse_set(before)
        assert added[-1].hint == signers.stranger.public_key.hint


def test_another_verdict_is_exit_status_1_with_its_code(beside: Path, words: list[Any], tmp_path: Path) -> None:
    published = tmp_path / "elsewhere" / beside.name
    published.parent.mkdir()
    published.write_bytes(retouched(beside.read_bytes()))
    told = ("--sarif", tmp_path / "a.sarif")
    output = run("rebuild", beside, *words, "--unsigned", "--published", published, *told)
    assert output.status == 1
    results = json.loads((tmp_path / "a.sarif").read_bytes())["runs"][0]["results"]
    assert {found["ruleId"] for found in results} == {"rebuild.header-table"}
    assert any("time: " in found["message"]["text"] for found in results)
    assert output.value["ok"] is False
    assert output.value["error"]["code"] == "rebuild.header-table"
    assert any("time: " in line for line in output.lines)
    assert output.value["statement"] is None
