"""A recipe comes from a trusted provenance, or is refused: nothing in it becomes a path or an address unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from attestor.building.build import BuildResult
from attestor.building.environment import interpreter
from attestor.building.recipe import read_recipe, recipe_for
from attestor.checking.leaks import LeakGate
from attestor.describing.provenance import LOCAL_BUILDER, make_provenance
from attestor.pipeline import Attestation
from attestor.signing.signers import KeySigner
from attestor.signing.statements import draft
from tests.attestor.conftest import Signers
from tests.wheels import build_wheel
from verifier.errors import LoadlockError
from verifier.formats.bundle import dump_set, parse_set
from verifier.formats.statement import PROVENANCE, Provenance, Resource, parse_provenance, parse_statement
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest
from verifier.wheels.wheel import Snapshot, read_wheel

STATEMENT = Digest("sha256:" + "5" * 64)


@pytest.fixture(scope="module")
def provenance(attested: Attestation) -> Provenance:
    return parse_provenance(parse_statement(parse_set(attested.attestations)[0].envelope.unverified_payload).predicate)


@pytest.fixture(scope="module")
def snapshot(attested: Attestation) -> Snapshot:
    return read_wheel(attested.wheel, attested.file_name)


def with_internal(value: Provenance, **changes: Any) -> Provenance:
    parameters = {**value.buildDefinition.internalParameters, **changes}
    parameters = {name: found for name, found in parameters.items() if found is not None}
    return replace_definition(value, internalParameters=parameters)


def with_external(value: Provenance, **changes: Any) -> Provenance:
    external = msgspec.structs.replace(value.buildDefinition.externalParameters, **changes)
    return replace_definition(value, externalParameters=external)


def with_input(value: Provenance, place: int, **changes: Any) -> Provenance:
    inputs = list(value.buildDefinition.resolvedDependencies)
    inputs[place] = msgspec.structs.replace(inputs[place], **changes)
    return replace_definition(value, resolvedDependencies=tuple(inputs))


def replace_definition(value: Provenance, **changes: Any) -> Provenance:
    return msgspec.structs.replace(value, buildDefinition=msgspec.structs.replace(value.buildDefinition, **changes))


def with_variable(value: Provenance, **changes: str) -> Provenance:
    return with_internal(value, environment={**value.buildDefinition.internalParameters["environment"], **changes})


def escaping(value: Provenance) -> Provenance:
    return with_input(value, 2, name="x-1.0-py3-none-../../any.whl", uri="pkg:pypi/x@1.0", digest={"sha256": "1" * 64})


# -- refused -----------------------------------------------------------------------------------------------------------

INCOMPLETE: dict[str, Callable[[Provenance], Provenance]] = {
    "no inputs": lambda one: replace_definition(one, resolvedDependencies=()),
    "no interpreter": lambda one: with_input(one, 1, name="python"),
    "an interpreter without a digest": lambda one: with_input(one, 1, digest={}),
    "an interpreter that is none": lambda one: with_input(one, 1, uri="pkg:generic/../sh@1"),
    "a source without a digest": lambda one: with_input(one, 0, digest={}),
    "a commit without its tree": lambda one: with_input(one, 0, digest={"gitCommit": "1" * 40}),
    "a branch for a commit": lambda one: with_input(one, 0, digest={"gitCommit": "abc", "gitTree": "1" * 40}),
    "a commit and an sdist": lambda one: with_input(
        one, 0, digest={"gitCommit": "1" * 40, "gitTree": "1" * 40, "sha256": "1" * 64}
    ),
    "a repository that is a program": lambda one: with_external(one, repository="ext::sh"),
    "a repository that is a file": lambda one: with_external(one, repository="file:///srv/x.git"),
    "a subdirectory above": lambda one: with_external(one, subdirectory="a/../../b"),
    "a subdirectory elsewhere": lambda one: with_external(one, subdirectory="/srv"),
    "an input that is no wheel": lambda one: with_input(one, 2, name="hatchling-1.0.tar.gz"),
    "an input that would be written elsewhere": escaping,
    "an input of another name": lambda one: with_input(one, 2, uri="pkg:pypi/other@1"),
    "an input without a digest": lambda one: with_input(one, 2, digest={}),
    "an input with half a digest": lambda one: with_input(one, 2, digest={"sha256": "12"}),
    "too many inputs": lambda one: replace_definition(
        one, resolvedDependencies=(*one.buildDefinition.resolvedDependencies, *[Resource()] * 300)
    ),
    "no environment": lambda one: with_internal(one, environment=None),
    "an environment of numbers": lambda one: with_internal(one, environment={"TZ": 1}),
    "a variable that runs programs": lambda one: with_variable(one, LD_PRELOAD="/srv/evil.so"),
    "a variable that moves the search path": lambda one: with_variable(one, PYTHONPATH="."),
    "a time before archives": lambda one: with_variable(one, SOURCE_DATE_EPOCH="0"),
    "a time after archives": lambda one: with_variable(one, SOURCE_DATE_EPOCH="9" * 11),
    "a time that is none": lambda one: with_variable(one, SOURCE_DATE_EPOCH="now"),
    "no umask": lambda one: with_internal(one, umask=None),
    "a decimal umask": lambda one: with_internal(one, umask="0o22"),
    "no word of the network": lambda one: with_internal(one, network=None),
    "another word of the network": lambda one: with_internal(one, network="some"),
    "no platform": lambda one: with_internal(one, platform=None),
    "no zlib": lambda one: with_internal(one, zlib=None),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_what_a_provenance_leaves_open_or_says_strangely_is_refused(name: str, provenance: Provenance) -> None:
    with pytest.raises(LoadlockError) as caught:
        read_recipe(INCOMPLETE[name](provenance), STATEMENT)
    assert caught.value.code == "rebuild.incomplete"


def test_another_build_type_is_refused(provenance: Provenance) -> None:
    with pytest.raises(LoadlockError) as caught:
        read_recipe(replace_definition(provenance, buildType="https://host.example/make"), STATEMENT)
    assert caught.value.code == "provenance.build-type"


def code_of(snapshot: Snapshot, attestations: bytes | None, *builders: KeySigner) -> str:
    with pytest.raises(LoadlockError) as caught:
        recipe_for(snapshot, attestations, [builder.public_key for builder in builders])
    return caught.value.code


def test_only_the_word_of_a_named_builder_counts(attested: Attestation, snapshot: Snapshot, signers: Signers) -> None:
    assert code_of(snapshot, attested.attestations, signers.stranger) == "set.statement-missing"
    assert code_of(snapshot, None, signers.builder) == "set.missing"
    assert code_of(snapshot, b"", signers.builder) in {"set.statement-missing", "format.syntax", "set.count"}
    forged = attested.attestations.replace(b'"sig":"', b'"sig":"AAAA', 1)
    assert code_of(snapshot, forged, signers.builder) == "signature.invalid"


def test_a_provenance_of_another_wheel_is_refused(attested: Attestation, signers: Signers) -> None:
    other = build_wheel()
    snapshot = read_wheel(other.data, other.file_name)
    assert code_of(snapshot, attested.attestations, signers.builder) == "subject.digest"


def test_two_provenances_by_named_builders_are_refused(
    attested: Attestation, snapshot: Snapshot, signers: Signers, provenance: Provenance
) -> None:
    second = draft(snapshot, PROVENANCE, dumps(provenance), LeakGate()).sign(signers.stranger)
    both = attested.attestations + dump_set((second,))
    assert code_of(snapshot, both, signers.builder, signers.stranger) == "set.duplicate"
    assert recipe_for(snapshot, both, [signers.builder.public_key]).builder_id == LOCAL_BUILDER


# -- read --------------------------------------------------------------------------------------------------------------


def test_the_recipe_says_what_the_build_was_given(
    attested: Attestation, snapshot: Snapshot, signers: Signers, built: BuildResult
) -> None:
    recipe = recipe_for(snapshot, attested.attestations, [signers.builder.public_key])
    assert (recipe.kind, recipe.commit, recipe.tree) == ("git", built.source.commit, built.source.tree)
    assert (recipe.repository, recipe.ref) == (built.source.repository, built.source.ref)
    assert recipe.wheels == built.inputs
    assert recipe.fixed == built.fixed
    assert recipe.interpreter == replace(interpreter(), implementation="cpython")
    assert list(recipe.differences(interpreter(), built.fixed.network)) == []


def test_the_recipe_of_an_sdist_names_it(built: BuildResult) -> None:
    source = replace(built.source, kind="sdist", commit="", tree="", repository="", ref="", sha256="1" * 64)
    made = make_provenance(replace(built, source=replace(source, purl="pkg:pypi/x@1")), builder_id=LOCAL_BUILDER)
    recipe = read_recipe(made, STATEMENT)
    assert (recipe.kind, recipe.sha256, recipe.purl, recipe.commit) == ("sdist", "1" * 64, "pkg:pypi/x@1", "")


def test_what_cannot_be_given_the_same_is_said_in_words(provenance: Provenance) -> None:
    recipe = read_recipe(provenance, STATEMENT)
    here = replace(interpreter(), implementation="cpython")
    other = "not-cut" if recipe.fixed.network == "none" else "none"
    said = [
        *recipe.differences(replace(here, version="3.99.0"), recipe.fixed.network),
        *recipe.differences(replace(here, sha256="f" * 64), recipe.fixed.network),
        *recipe.differences(replace(here, platform="plan9-vax"), recipe.fixed.network),
        *recipe.differences(replace(here, zlib="1.3.1.zlib-ng"), recipe.fixed.network),
        *recipe.differences(here, other),
    ]
    words = ["another interpreter", "another build of", "another platform", "another zlib", "the network"]
    assert [line.partition(":")[0][: len(word)] for line, word in zip(said, words, strict=True)] == words
    assert "1.3.1.zlib-ng" in said[3]
