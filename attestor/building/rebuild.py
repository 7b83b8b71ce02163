"""Rebuilds a wheel from its signed provenance alone, says how alike the two are, and signs what it did.

    the provenance → a recipe → the source → the same locked wheels → build → compare → the rebuilder's own provenance

The rebuilder's statement is about the wheel that *it* made. Only when that is bit-identical is it a statement about the
other wheel too; there is nothing to misread, whatever the verdict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from attestor.building.build import PLAIN, BuildResult, workshop
from attestor.building.compare import Candidate, Comparison, Verdict
from attestor.building.diffoscope import compare_deeply
from attestor.building.environment import Fixed, fixed, interpreter
from attestor.building.mirror import obtain
from attestor.building.recipe import Recipe, recipe_for
from attestor.building.wheelhouse import Wheelhouse
from attestor.checking.leaks import LeakGate
from attestor.checking.review import check_signed_by_other, signer_stated
from attestor.describing.provenance import make_provenance
from attestor.signing.signers import Signer
from attestor.signing.statements import draft
from verifier.errors import Refused, UsageError
from verifier.formats.bundle import dump_set
from verifier.formats.statement import PROVENANCE
from verifier.formats.strict_json import dumps
from verifier.judging.evidence import parse_attestations
from verifier.progress import Progress
from verifier.signatures.signatory import Signatory
from verifier.wheels.wheel import read_wheel

#: The rebuilder on somebody's own machine.
REBUILDER = "https://loadlock.dev/rebuilders/local"

_REFUSALS = {
    Verdict.HEADERS: ("rebuild.header-table", "the rebuilt wheel differs in its zip header table"),
    Verdict.CONTENT: ("rebuild.content", "the rebuilt wheel has the same content in other bytes"),
    Verdict.DIFFERENT: ("rebuild.different", "the rebuilt wheel differs"),
}


@dataclass(frozen=True)
class RebuildOptions:
    """What a rebuild may be told beside the wheel.

    Args:
        source: a local mirror of the repository, or the sdist; None: the repository is fetched.
        house: where the wheels of the build environment come from.
        published: a wheel that somebody else published, as file name and bytes, to compare with too.
        rebuilder_id: the URI of this rebuilder.
        invocation_id: the URI of the CI run; empty when there is none.
    """

    source: Path | None = None
    house: Wheelhouse = field(default_factory=Wheelhouse)
    published: tuple[str, bytes] | None = None
    rebuilder_id: str = REBUILDER
    invocation_id: str = ""


@dataclass(frozen=True)
class Rebuilt:
    """The outcome of a rebuild.

    Args:
        build: the build.
        comparisons: with what it was compared (``wheel``, ``published``) to how alike they are.
        differences: what could not be given the same as it was, in words.
        attestations: the rebuilder's signed provenance, one line; None when nothing was to be signed.
    """

    build: BuildResult
    comparisons: dict[str, Comparison]
    differences: tuple[str, ...]
    attestations: bytes | None

    def refusal(self) -> Refused | None:
        """The worst verdict as a refusal; None when all are bit-identical."""
        name, comparison = max(self.comparisons.items(), key=lambda item: list(Verdict).index(item[1].verdict))
        if comparison.verdict == Verdict.BIT_IDENTICAL:
            return None
        code, what = _REFUSALS[comparison.verdict]
        return Refused(
            code, f"{what} from {_title(name)}", found=f"{comparison.verdict}; sha256:{self.build.sha256}",
            expected=str(Verdict.BIT_IDENTICAL),
        )  # fmt: skip


def rebuild(
    wheel: bytes,
    file_name: str,
    attestations: bytes | None,
    builders: Sequence[Signatory],
    options: RebuildOptions,
    signer: Signer | None,
    *,
    now: datetime,
    progress: Progress,
) -> Rebuilt:
    """Rebuild a wheel and compare.

    Args:
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: its attestation set.
        builders: the keys whose provenance is taken for true.
        options: see there.
        signer: the rebuilder's key, of none of the builders; None: nothing is signed.
        now: the moment, aware, UTC.
        progress: is told of the steps.

    Raises:
        Refused: ``wheel.*``, ``roles.not-disjoint``, ``build.*``, ``source.*``, ``provenance.*``, ``leak.found``, and
            as :func:`attestor.building.recipe.recipe_for`. A verdict is not raised: see :meth:`Rebuilt.refusal`.
        UsageError: the source has to be given; the rebuilder has the builder's own id.
        Unreachable: ``unreachable.server``, ``unreachable.index``.
    """
    if signer is not None and signer.signatory.id in {key.id for key in builders}:
        raise Refused(
            "roles.not-disjoint", "the rebuilder signs with the builder's own key", found=signer.signatory.id,
            todo="A rebuild counts when somebody else does it: sign with another key.",
        )  # fmt: skip
    with progress.step("provenance") as step:
        recipe = recipe_for(read_wheel(wheel, file_name), attestations, builders)
        step.says(f"by {recipe.builder_id}, {recipe.statement}")
    if recipe.builder_id == options.rebuilder_id:
        raise UsageError("usage.arguments", "the rebuilder has the builder's own id", found=repr(recipe.builder_id))
    inputs = _inputs(recipe)
    differences = tuple(recipe.differences(interpreter(), inputs.network))
    for difference in differences:
        progress.done("cannot be the same", difference)
    built = _build(recipe, inputs, options, now, progress)
    others = {"wheel": (file_name, wheel)} | ({"published": options.published} if options.published else {})
    with progress.step("compare") as step:
        comparisons = {name: _compare(built, name, *other) for name, other in others.items()}
        step.says(f"with {' and '.join(map(_title, others))}")
    signed = None
    if signer is not None:
        with progress.step("sign") as step:
            signed = _sign(built, recipe, comparisons, others, options, signer, builders)
            step.says(f"the verdict, {signer.signatory.id}")
    return Rebuilt(built, comparisons, differences, signed)


def with_rebuild(attestations: bytes, done: Rebuilt) -> bytes:
    """The attestation set with the rebuilder's statement in it, in the place of an earlier one by the same key.

    Args:
        attestations: the set that was rebuilt from.
        done: what came of it; only the same bytes are a statement about the set's wheel.

    Raises:
        Refused: :meth:`Rebuilt.refusal`, when the bytes are not the same.
        UsageError: nothing was signed.
    """
    if refusal := done.refusal():
        raise refusal
    if done.attestations is None:
        raise UsageError("usage.arguments", "nothing was signed that could be added to the set")
    added = parse_attestations(done.attestations)
    theirs = {signer_stated(bundle) for bundle in added}
    return dump_set((*(one for one in parse_attestations(attestations) if signer_stated(one) not in theirs), *added))


def _inputs(recipe: Recipe) -> Fixed:
    """The recorded inputs, with what this system can do about network and processes."""
    then, here = recipe.fixed, fixed(recipe.fixed.epoch)
    return replace(then, network=here.network, processes=here.processes)


def _build(recipe: Recipe, inputs: Fixed, options: RebuildOptions, now: datetime, progress: Progress) -> BuildResult:
    with TemporaryDirectory(prefix="loadlock-rebuild-") as name:
        with progress.step("source") as step:
            source = obtain(recipe, options.source, Path(name))
            step.says(f"commit {source.commit}" if source.kind == "git" else f"sdist sha256:{source.sha256}")
        with ExitStack() as stack:
            with progress.step("environment") as step:
                shop = stack.enter_context(
                    workshop(
                        source, options.house, config_settings=recipe.config_settings, inputs=inputs,
                        locked=recipe.wheels,
                    )
                )  # fmt: skip
                step.says(f"{len(shop.wheels)} wheels, each by the sha256 that was locked")
            with progress.step("rebuild") as step:
                result = shop.result(shop.build(PLAIN), now=now)
                step.says(f"{result.file_name}, sha256:{result.sha256}")
    return result


def _title(name: str) -> str:
    return f"the {name} wheel" if name != "wheel" else "the wheel"


def _compare(built: BuildResult, name: str, file_name: str, wheel: bytes) -> Comparison:
    return compare_deeply(
        Candidate("the rebuilt wheel", built.file_name, built.wheel), Candidate(_title(name), file_name, wheel)
    )


def _sign(
    built: BuildResult,
    recipe: Recipe,
    comparisons: dict[str, Comparison],
    others: dict[str, tuple[str, bytes]],
    options: RebuildOptions,
    signer: Signer,
    builders: Sequence[Signatory],
) -> bytes:
    """The rebuilder's provenance of the wheel that it made, with what it was compared with."""
    verdicts = {
        f"sha256:{hashlib.sha256(wheel).hexdigest()}": str(comparisons[name].verdict)
        for name, (_, wheel) in others.items()
    }
    provenance = make_provenance(
        built, builder_id=options.rebuilder_id, invocation_id=options.invocation_id,
        rebuild={"provenance": recipe.statement, "verdicts": verdicts},
    )  # fmt: skip
    checked = draft(
        read_wheel(built.wheel, built.file_name), PROVENANCE, dumps(provenance), LeakGate(built.source.repository)
    )
    bundle = checked.sign(signer)
    check_signed_by_other(bundle, builders, "builder")
    return dump_set((bundle,))
