"""The codes of what is not verification: attesting, layouts, the service, commands; see :mod:`verifier.codes`."""

from __future__ import annotations

from verifier.code import Code

BEYOND: dict[str, Code] = {
    # -- attesting ---------------------------------------------------------------------------------------------------
    "source.unusable": Code(None, "the source is neither a git commit nor an sdist", "Commit it, or build an sdist."),
    "source.dirty": Code(None, "the source differs from its commit", "Commit or remove what was changed, then attest."),
    "source.archive": Code(None, "the source archive is malformed or too large", "Build the sdist again."),
    "build.unlocked": Code(None, "a requirement cannot be locked by hash", "Name a release that exists as a wheel."),
    "build.failed": Code(None, "the build failed", "Build the same commit by hand and mend what the log says."),
    "build.outside": Code(
        None,
        "a build wrote where it has no business",
        "Let the build write below its own directory and its output alone.",
    ),
    "build.not-reproducible": Code(
        None,
        "two builds of the same source under varied conditions differ",
        "Mend what the differences name; or attest with --once, and the provenance will say that it was not checked.",
    ),
    "rebuild.incomplete": Code(
        None, "the provenance does not say all that a rebuild needs", "Ask the builder to attest with this release."
    ),
    "rebuild.header-table": Code(
        None,
        "the rebuilt wheel is bit-identical given the zip header table, and only then",
        "Read the list of differences: the content is the same, times or modes are not.",
    ),
    "rebuild.content": Code(
        None,
        "the rebuilt wheel is content-identical, and not more",
        "Compare the versions of zlib; another one compresses the same content to other bytes.",
    ),
    "rebuild.different": Code(
        None, "the rebuilt wheel is different", "Trust neither wheel before each difference has been explained."
    ),
    "manifest.draft": Code(
        None,
        "the manifest is a draft, and its owner has to write what is left open",
        "Write what is named in your own words.",
    ),
    "manifest.missing": Code(None, "there is no plugin manifest", "Write PLUGIN_MANIFEST.json, or pass --manifest."),
    "certify.no-precedent": Code(
        None,
        "there is no earlier certified release to compare with",
        "Name one with --previous, or leave out the demand.",
    ),
    "certify.growth": Code(
        None,
        "the release may do more than the one that was certified before",
        "Let a person read what grew and certify.",
    ),
    "certify.declined": Code(None, "the certifier said no", "Tell the plugin's owner what has to change."),
    "sbom.embedded": Code(
        None,
        "the wheel does not embed the SBOM of its dependencies",
        "Commit the document expected, and let the build backend put it into .dist-info/sboms/.",
    ),
    "handover.same-key": Code(None, "the key is in use already", "Make a new one with 'loadlock key new FILE'."),
    "handover.unsigned": Code(None, "one of the two has not signed", "Have it signed: 'loadlock handover accept'."),
    "handover.expired": Code(None, "the handover's time is over", "Make a new one."),
    "handover.stale": Code(None, "the policy is not as the handover has it", "Compare it with the policy in force."),
    "step.failed": Code(None, "the command of a step failed", "Mend what it says; nothing was signed."),
    # -- layouts -----------------------------------------------------------------------------------------------------
    "layout.missing": Code(
        None, "the policy names a layout, and no links were handed in", "Publish with --layout FILE --links DIR."
    ),
    "layout.other": Code(
        None, "the layout is not the one that the policy names", "Use the layout that the policy names by its digest."
    ),
    "layout.expired": Code(None, "the layout has expired", "Have the owner sign a new one, and the policy name it."),
    "layout.unusable": Code(None, "layout and links cannot be judged", "Mend what is named, and sign again."),
    "layout.link": Code(None, "a link does not belong, failed, or contradicts another", "Take the step again."),
    "layout.command": Code(None, "a step ran another command than the layout expects", "Take the step as laid out."),
    "layout.threshold": Code(
        None, "a step was taken by fewer people than the layout expects", "Have the step taken, and hand in every link."
    ),
    "layout.rules": Code(
        None, "what a step used or made is not what the layout allows", "Compare the step's files with the layout."
    ),
    "layout.subject": Code(None, "the links are about another wheel", "Hand in the links of this wheel's release."),
    "leak.found": Code(None, "a statement would give something away", "Remove it from the source of the statement."),
    "server.refused": Code(None, "the server refused the request", "Mend what the server names, then try again."),
    # -- the service -------------------------------------------------------------------------------------------------
    "auth.token": Code(None, "no valid API token was presented", "Ask an operator for one ('loadlock token create')."),
    "auth.role": Code(None, "the token's roles do not allow this", "Ask an operator for a token with a role named."),
    "auth.plugin": Code(None, "the token is for other plugins", "Ask an operator for a token for this plugin."),
    "auth.host": Code(None, "the token is another host's", "Ask an operator for a token of this host."),
    "host.heard": Code(
        None,
        "a host that is to be forgotten is not gone",
        "Stop it, take its token back ('loadlock token revoke'), and try again when it has been silent for 15 minutes.",
    ),
    "auth.session": Code(None, "nobody is signed in at the console, or not any more", "Sign in again."),
    "auth.form": Code(
        None, "a form was not sent by one of the console's own pages", "Open the page and send it again."
    ),
    "auth.login": Code(None, "signing in at the console failed", "Begin again from the console's first page."),
    "request.invalid": Code(None, "the request is malformed", "Correct the request as the message says."),
    "request.unknown": Code(None, "there is nothing at this address", "Check the address and the method."),
    "request.idempotency": Code(
        None, "an idempotency key was used before for another request", "Use a new key for a new request."
    ),
    "request.slow": Code(None, "the request arrives too slowly", "Send it again, over a better connection."),
    "request.rate": Code(None, "somebody writes faster than the service allows", "Wait as long as Retry-After says."),
    "registry.unknown": Code(None, "the registry does not know it", "Publish it first, or check what was asked for."),
    "list.full": Code(None, "the list's tail is full", "Publish a checkpoint that takes the tail into its base."),
    "revocation.reach": Code(
        None, "a revocation would deny much of what is in use at once", "Look at a dry run, then confirm its number."
    ),
    "reinstatement.unknown": Code(None, "there is nothing to take back", "Check the digest, the rule or the number."),
    "reinstatement.own": Code(
        None, "a reinstatement was approved by who asked for it", "Have a second person approve it."
    ),
    "waiver.unknown": Code(None, "nobody asked for such a waiver", "Look at 'loadlock waive ls'."),
    "waiver.ended": Code(None, "a waiver was ended before its time", "Ask for another one."),
    "waiver.own": Code(None, "a waiver was approved by who asked for it", "Have a second person approve it."),
    "checkpoint.unfounded": Code(
        None,
        "a checkpoint is not what the list, the approvals and the audit log say",
        "Do not sign it: keep the directory and alarm security.",
    ),
    "checkpoint.outdated": Code(
        None, "another checkpoint was prepared or published since", "Run 'loadlock checkpoint prepare' again."
    ),
    "checkpoint.signatures": Code(
        None, "a checkpoint lacks a signature", "Have two holders of a checkpoint key sign it."
    ),
    "rotation.unfounded": Code(
        None,
        "a rotation changes something else than it says",
        "Do not sign it: keep the directory and alarm security.",
    ),
    "rotation.outdated": Code(
        None, "trust has changed since this rotation was laid out", "Run 'loadlock trust rotate' again."
    ),
    "rotation.signatures": Code(
        None, "a rotation lacks a signature", "Have those sign it who are named: 'loadlock trust sign'."
    ),
    "server.offline-key": Code(
        None, "the server can read an offline key", "Move the offline keys to a medium that this machine does not hold."
    ),
    "server.behind": Code(None, "the database is older than the list it has published", "Restore the newest database."),
    "server.restored": Code(
        None,
        "a backup was restored, and hosts may have seen more than it knows",
        "Run 'loadlock recover --from' with the newest copy of the public tree there is.",
    ),
    "backup.damaged": Code(
        None, "a backup is not whole, or what is in it does not verify", "Take another backup, and keep this one apart."
    ),
    "server.lint": Code(
        None, "the list to be published fails the server's own check", "Nothing was published: read what was found."
    ),
    "server.streams": Code(None, "the server holds as many push streams as it may", "Poll; connect again later."),
    "server.hearing": Code(None, "more acknowledgements wait than the server can keep", "Acknowledge again later."),
    "server.workers": Code(None, "a worker of the server dies again and again", "Read the server's log: it says why."),
    "webhook.address": Code(
        None, "a webhook leads to an address that events may not go to", "Correct the webhook in server/settings.toml."
    ),
    "copy.damaged": Code(
        None,
        "a carried copy is cut short, or not in its one form",
        "Make the copy again with 'loadlock trust export', and carry all of it.",
    ),
    "export.denied": Code(
        None, "an export's storage does not let us", "Check the credentials, the bucket, and what they may do there."
    ),
    "export.conflict": Code(None, "somebody else wrote to an export at the same time", "It is tried again by itself."),
    "export.behind": Code(
        None,
        "an export's place holds something newer than this server",
        "Find out which server writes there; after a restore: 'loadlock recover --from' a copy of that place.",
    ),
    "server.not-ready": Code(None, "the server cannot serve a valid list now", "See the server's log."),
    "server.damaged": Code(
        None,
        "a public file of the server is damaged",
        "Go by the runbook 'a public file is damaged'; look at the disk, and who may write there.",
    ),
    "audit.head": Code(
        None, "a signed list stands in no entry of the audit log", "Alarm security: a head key may be stolen."
    ),
    "audit.chain": Code(None, "the audit log was edited, cut or rewritten", "Keep a copy of it and alarm security."),
    # -- commands ----------------------------------------------------------------------------------------------------
    "usage.arguments": Code(None, "wrong arguments", "Correct what was given; a command's --help says what it takes."),
    "usage.deployment": Code(
        None,
        "no deployment found",
        "Pass --deployment, or run 'loadlock host enroll' (a host) or 'loadlock init' (an operator).",
    ),
    "usage.configuration": Code(None, "the configuration is not usable", "Correct the setting named."),
    "usage.exists": Code(None, "something is already there", "Choose another place."),
    "usage.unsigned": Code(
        None,
        "nothing awaits its owner's signature",
        "Endorse once, with the wheel, its set and this file together as 'loadlock attest' left them.",
    ),
    "usage.key": Code(None, "a key cannot be read or used", "Check the file, its format and its permissions."),
    "signer.failed": Code(None, "a signing service refused or failed", "Check what it needs, then try again."),
    "signer.wrong-key": Code(
        None,
        "a signing service signed with another key than the one named",
        "Name the public key that belongs to the URI: 'loadlock key fetch' asks the service for it.",
    ),
    "usage.identity": Code(None, "no identity to sign with", "Fetch a new token, and sign again."),
    "usage.extra": Code(None, "an optional part of Loadlock is not installed", "Install the extra named."),
    "io.failed": Code(None, "a file could not be read or written", "Check the path, its permissions and the disk."),
    "unreachable.webhook": Code(None, "a webhook's receiver did not take an event", "It is told again by itself."),
    "unreachable.storage": Code(None, "an export's storage did not answer", "It is tried again by itself."),
    "unreachable.server": Code(None, "the server did not answer", "Check the address and try again."),
    "unreachable.index": Code(None, "the package index did not answer", "Check the network and try again."),
    "unreachable.issuer": Code(None, "an issuer of tokens did not answer", "Try again; ask whoever runs the issuer."),
    "unreachable.signer": Code(None, "a signing service did not answer", "Check the network and try again."),
    "internal.unexpected": Code(None, "something unexpected happened, and so nothing is allowed", "Report it."),
}
