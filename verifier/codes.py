"""The stable codes of all errors: what each means, at which step of verification it belongs, what to do about it.

Codes are part of the public contract: they are added, never renamed. Steps are those of ``docs/spec/verification.md``;
``None`` means the code can arise anywhere.
"""

from __future__ import annotations

from verifier.code import Code
from verifier.codes_beyond import BEYOND

_REATTEST = "Attest the plugin again with a current attestor and publish the new set."
_ASK_OWNER = "Ask the plugin's owner for a set that was made for exactly this wheel."
_OLD_COPY = (
    "What was in force stays. Ask the operator whether the server was set back; if not, somebody replays an old copy."
)
_FOREIGN = "What was in force stays. Check which server this host asks, and who answers in its place."
_SYNC = "Run 'loadlock host sync' to fetch current trust and lists, then try again."
_REINSTALL = "Find out who changed what is installed, then install the wheel again."
_PUBLISHER = "Treat the file as damaged or hostile: fetch it again from its publisher and compare its digest."

CODES: dict[str, Code] = {
    # -- documents of any kind ---------------------------------------------------------------------------------------
    "format.too-large": Code(None, "the document exceeds its size cap", "Check that this is the right file."),
    "format.encoding": Code(None, "not UTF-8, or begins with a byte order mark", "Save the document as plain UTF-8."),
    "format.depth": Code(None, "nested deeper than the cap", "Flatten the document."),
    "format.duplicate-key": Code(None, "an object names the same key twice", "Keep one of the two."),
    "format.number": Code(None, "NaN, infinite or out of range", "Use a number within the stated range."),
    "format.syntax": Code(None, "not valid JSON or TOML", "Correct the document at the place named."),
    "format.schema": Code(None, "a field is unknown, missing or of the wrong type", "Correct the field named."),
    "format.base64": Code(None, "not canonical base64", "Encode with padding and without line breaks."),
    "format.unsupported": Code(
        None, "a version or kind this release does not know", "Use a newer release of Loadlock."
    ),
    # -- 0 trust -----------------------------------------------------------------------------------------------------
    "trust.missing": Code(0, "this host has no root of trust", "Run 'loadlock host enroll' first."),
    "trust.root": Code(0, "the chain of roots does not lead from the pinned root", _FOREIGN),
    "trust.metadata": Code(0, "trust metadata does not verify under its role's keys and threshold", _FOREIGN),
    "trust.rollback": Code(0, "trust metadata is older than this host has already seen", _OLD_COPY),
    "trust.expired": Code(0, "the policy's valid_until has passed", _SYNC),
    "trust.deployment": Code(0, "trust metadata belongs to another deployment", "Enrol this host with the right one."),
    "trust.policy": Code(0, "the policy contradicts itself", "Correct the policy and sign it again."),
    "trust.unsupported": Code(0, "the policy asks for something this release cannot check", "Use a newer release."),
    "clock.behind": Code(0, "this machine's clock is behind the last signed time", "Correct the clock."),
    # -- 1 reading ---------------------------------------------------------------------------------------------------
    "wheel.unreadable": Code(1, "the wheel cannot be read", "Check the path and its permissions."),
    "wheel.too-large": Code(1, "the wheel exceeds the size cap", "Raise the cap only for a plugin that you know."),
    # -- 2 revocation list -------------------------------------------------------------------------------------------
    "list.missing": Code(2, "this host has no revocation list", _SYNC),
    "list.signature": Code(2, "the list is not signed by a head key that the policy names", _FOREIGN),
    "list.key-expired": Code(2, "the head key's time is over", _SYNC),
    "list.deployment": Code(2, "the list belongs to another deployment", _FOREIGN),
    "list.rollback": Code(2, "the list is older than one this host has already seen", _OLD_COPY),
    "list.fork": Code(2, "two lists of one history contradict each other", "Alarm security: a head key may be stolen."),
    "list.future": Code(2, "the list was issued in the future", "Compare this machine's clock with the server's."),
    "list.epoch": Code(2, "the list and the checkpoint are of different epochs", _SYNC),
    "list.segments": Code(
        2, "segments are not contiguous, or differ from the head in digest, count or order", _FOREIGN
    ),
    "list.base": Code(2, "the base set differs from the checkpoint", _FOREIGN),
    "list.stale": Code(2, "the list has expired and the grace of the tier is used up", _SYNC),
    "list.state": Code(
        2, "the record of what this host has seen is missing or damaged", "Move this directory away, then enrol again."
    ),
    "revoked.artifact": Code(2, "the artifact is revoked", "Install the remediated version."),
    "revoked.dependency": Code(2, "a locked dependency is revoked", "Ask the owner for a release without it."),
    # -- 3 attestation set -------------------------------------------------------------------------------------------
    "set.missing": Code(
        3, "no attestation set lies beside the wheel", "Run 'loadlock host sync WHEEL', or ask the owner for its set."
    ),
    "set.count": Code(3, "more statements than the cap", _REATTEST),
    "set.duplicate": Code(3, "a statement of which one is allowed stands there twice", _REATTEST),
    "set.changed": Code(
        None, "the attestation set was changed by somebody else meanwhile", "Look at the set as it is, and sign again."
    ),
    "set.statement-missing": Code(3, "a statement that is required is not in the set", _REATTEST),
    # -- 4 signatures ------------------------------------------------------------------------------------------------
    "signature.invalid": Code(4, "a signature does not verify", _PUBLISHER),
    "signature.unknown-signer": Code(4, "signed by a key that the policy does not name", _ASK_OWNER),
    "signature.wrong-signer": Code(4, "signed by a principal that may not say this of this plugin", _ASK_OWNER),
    "signature.key-revoked": Code(4, "signed with a revoked key", "Ask the owner to sign again with a current key."),
    "signature.key-retired": Code(4, "signed with a retired key, and not among what it still counts for", _ASK_OWNER),
    "signature.identity": Code(
        4,
        "the signing certificate is for somebody whom the policy does not name",
        "Compare what it states with the policy.",
    ),
    "signature.certificate": Code(
        4, "the signing certificate is malformed, or by no authority of the trusted root", _ASK_OWNER
    ),
    "signature.log": Code(4, "no log of the trusted root holds the statement", _ASK_OWNER),
    "signature.time": Code(4, "nobody whom the policy asks vouches for when a statement was signed", _REATTEST),
    "signature.payload-type": Code(4, "the envelope's payload type is not the expected one", _REATTEST),
    # -- 5 subject ---------------------------------------------------------------------------------------------------
    "subject.count": Code(5, "a statement must have exactly one subject", _REATTEST),
    "subject.algorithm": Code(5, "a subject must be identified by sha256", _REATTEST),
    "subject.digest": Code(5, "a statement is about another artifact", _ASK_OWNER),
    # -- 6 wheel -----------------------------------------------------------------------------------------------------
    "wheel.archive": Code(6, "the archive is malformed or ambiguous", _PUBLISHER),
    "wheel.bomb": Code(6, "the archive unpacks to more than the cap", _PUBLISHER),
    "wheel.path": Code(6, "an entry's path is not a plain relative path", _PUBLISHER),
    "wheel.collision": Code(6, "two entries collide on some file system", _PUBLISHER),
    "wheel.record": Code(6, "RECORD and content differ", _PUBLISHER),
    "wheel.metadata": Code(6, "METADATA, WHEEL and the file name disagree", _PUBLISHER),
    "wheel.forbidden": Code(6, "the wheel holds a file that would run or hide outside the import system", _PUBLISHER),
    "wheel.shadowing": Code(6, "the wheel shadows the standard library or a module of the host", _PUBLISHER),
    "wheel.unsupported": Code(
        6,
        "this release or platform cannot load the wheel",
        "Use a release whose wheel fits this interpreter and platform.",
    ),
    # -- 7 manifest --------------------------------------------------------------------------------------------------
    "manifest.embedded": Code(7, "the embedded manifest differs from the signed one", _ASK_OWNER),
    "manifest.embedded-count": Code(7, "more than one embedded manifest", _ASK_OWNER),
    "manifest.plugin-id": Code(7, "the plugin id does not belong to this wheel", _ASK_OWNER),
    "manifest.owner": Code(7, "the manifest names another owner than the one who signed it", _ASK_OWNER),
    "manifest.version": Code(7, "manifest and wheel state different versions", _ASK_OWNER),
    "manifest.expired": Code(7, "the manifest has expired", "Ask the owner for a current release."),
    "manifest.api-version": Code(
        7, "the plugin does not support this host's API version", "Install a matching release."
    ),
    "manifest.record": Code(7, "the manifest pins another RECORD", _ASK_OWNER),
    "manifest.entry-point": Code(7, "the manifest names no such entry point", "Name one of those that are expected."),
    # -- 8 SBOM and dependencies -------------------------------------------------------------------------------------
    "sbom.digest": Code(8, "the SBOM is not the one that the manifest pins", _ASK_OWNER),
    "sbom.subject": Code(8, "the SBOM describes another component", _ASK_OWNER),
    "sbom.incomplete": Code(8, "the SBOM does not list a locked dependency", _REATTEST),
    "sbom.not-allowed": Code(8, "a component violates the sdk_allowlist", "Ask the owner to mend the allow-list."),
    "dependency.undeclared": Code(8, "a dependency is neither locked nor host-provided", _ASK_OWNER),
    "dependency.missing": Code(8, "the host does not provide what the plugin needs", "Install it into the host."),
    "dependency.version": Code(8, "a locked dependency is of another version than is required", _ASK_OWNER),
    "dependency.unavailable": Code(
        8,
        "the wheel of a locked dependency is not in the host's wheelhouse",
        "Put the wheels there that 'loadlock attest' collects with --wheelhouse.",
    ),
    "dependency.too-large": Code(8, "the locked dependencies together exceed the cap", _ASK_OWNER),
    # -- 9 provenance ------------------------------------------------------------------------------------------------
    "provenance.build-type": Code(9, "unknown build type", _REATTEST),
    "provenance.builder": Code(9, "built by another builder than the manifest says", _ASK_OWNER),
    "provenance.source": Code(9, "built from another source than manifest or policy say", _ASK_OWNER),
    "provenance.rebuild": Code(
        9,
        "a rebuilder whom the policy names did not get the same bytes",
        "Find out why before anybody loads it: 'loadlock rebuild' names every difference.",
    ),
    "provenance.threshold": Code(
        9,
        "fewer distinct builders than the tier requires",
        "Have somebody rebuild it whom the policy names as a rebuilder ('loadlock rebuild --add').",
    ),
    "roles.not-disjoint": Code(9, "one principal acts in two roles", "Have the second role signed by somebody else."),
    # -- 10 certification --------------------------------------------------------------------------------------------
    "certification.missing": Code(10, "no certification by a certifier of the policy", "Run 'loadlock certify'."),
    "certification.covenant": Code(10, "certified was something else than what is here", "Have it certified again."),
    "certification.failed": Code(10, "the certifier's verdict is not PASSED", "Ask the certifier."),
    "certification.tier": Code(
        10, "the certifier may not certify this tier", "Ask a certifier with a higher max_tier."
    ),
    "certification.expired": Code(10, "the certification has expired", "Have it certified again."),
    "certification.withdrawn": Code(10, "the certification was withdrawn", "Ask the certifier."),
    "vulnerabilities.found": Code(
        10,
        "a dependency has a known vulnerability that the tier does not admit",
        "Install a release with mended dependencies, or ask who owns the policy.",
    ),
    "vulnerabilities.not-audited": Code(
        10, "nobody knows what is known of a dependency", "Have it audited ('loadlock check vulnerabilities')."
    ),
    "vulnerabilities.too-old": Code(
        10, "what the audit knew is older than the tier admits", "Have it audited again, publish the set, sync hosts."
    ),
    "checks.failed": Code(
        10, "a check of the release failed or did not run", "Ask the owner for a release that passed."
    ),
    "checks.source": Code(10, "another source was checked than the wheel was built from", _ASK_OWNER),
    "checks.waiver-expired": Code(10, "the waiver of a check has expired", "Ask the owner for a release that passes."),
    "checks.not-waivable": Code(10, "a check is waived that the tier insists on", "Ask for a release that passes it."),
    "certification.layout": Code(
        10,
        "the certification does not rest on the layout that the policy names",
        "Have it certified again, with its layout and links.",
    ),
    # -- 11 standing rules -------------------------------------------------------------------------------------------
    "rule.unsupported": Code(
        11, "a standing rule is in force that this release cannot evaluate", "Use a newer release."
    ),
    "rule.matched": Code(11, "a standing revocation rule matches", "Install a release that the rule does not match."),
    # -- 12 decision -------------------------------------------------------------------------------------------------
    "decision.unknown-plugin": Code(4, "the policy does not know this plugin", "Run 'loadlock trust add-plugin'."),
    "decision.denied": Code(12, "the policy denies this plugin", "Ask who owns the policy."),
    "decision.tier": Code(
        12, "the tier is not the one the host asked for", "Certify it for that tier, or ask for less."
    ),
    "decision.isolation": Code(12, "this host cannot isolate the plugin as its tier requires", "Use another host."),
    "decision.min-version": Code(12, "older than the policy's min_version", "Install a newer release."),
    "decision.maturity": Code(12, "the policy does not admit this maturity", "Ask the owner for a mature release."),
    "decision.classification": Code(12, "the run's classification exceeds the plugin's", "Use another plugin."),
    "decision.egress": Code(
        12, "the plugin declares egress that the policy does not admit", "Ask who owns the policy."
    ),
    "decision.strict": Code(12, "a strict run, and there is a warning", "Mend what is named, or run it unstrictly."),
    "decision.hermetic": Code(12, "the plugin is not hermetic-compatible", "Run it outside hermetic mode."),
    "decision.capability": Code(
        12, "the plugin declares a capability that the policy does not admit", "Ask who owns it."
    ),
    # -- what an installer has unpacked ------------------------------------------------------------------------------
    "installed.assurance": Code(
        None,
        "the tier does not admit plugins that an installer has unpacked",
        "Load the plugin from its wheel, or ask who owns the policy.",
    ),
    "installed.unknown": Code(None, "no distribution of that name is installed", "Install it, or correct the name."),
    "installed.unsupported": Code(
        None, "what is installed was not unpacked from a wheel", "Install the plugin's wheel with pip or uv."
    ),
    "installed.editable": Code(
        None,
        "what is installed is the source itself, which changes as it is edited",
        "Install the attested wheel; or use a deployment of the development profile.",
    ),
    "installed.ambiguous": Code(
        None, "several distributions of that name are installed", "Remove all but one of them."
    ),
    "installed.changed": Code(None, "an installed file is not the one that was attested", _REINSTALL),
    "installed.missing": Code(None, "an attested file is not installed", _REINSTALL),
    "installed.link": Code(
        None, "an installed file is a link, or lies behind one", "Install with copies of the files."
    ),
    "installed.extra": Code(None, "a module that nobody attested lies among the plugin's own", _REINSTALL),
    # -- running plugins ---------------------------------------------------------------------------------------------
    "plugin.revoked": Code(None, "the loaded plugin has been revoked", "Install the remediated version; restart."),
    "plugin.preloaded": Code(None, "a module of that name is already loaded", "Load the plugin before importing it."),
    "dependency.conflict": Code(
        None,
        "a locked dependency does not fit into this process",
        "Let the host provide it, let both plugins lock the same wheel, or use a tier of a process of its own.",
    ),
    "plugin.replaced": Code(None, "the loaded plugin was replaced", "Use the plugin that took its place."),
    "plugin.not-newer": Code(
        None, "a loaded plugin is replaced by a newer version only", "Load it in a process of its own, or restart."
    ),
    "plugin.failed": Code(None, "the plugin raised an error", "See the cause; report it to the plugin's owner."),
    **BEYOND,
}
