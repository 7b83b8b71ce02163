"""``trust policy``, ``trust add-plugin`` and ``trust add-principal``: what takes the offline policy key."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crl_server.commands.common import local_actor, now, opened
from verifier.command import Command, Output, given
from verifier.errors import Refused, UsageError
from verifier.files import read_capped
from verifier.formats.identity import MAX_IDENTITY
from verifier.formats.policy import MAX_POLICY, TIERS
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import plain
from verifier.formats.text import Name, PluginId, Version
from verifier.signatures.keys import PublicKey

if TYPE_CHECKING:
    from crl_server.service import Authority
    from crl_server.trust.offline import Office

MAX_KEY = 16 * 1024
"""Size cap of a public key file in bytes."""
_ROLES = ("builder", "rebuilder", "owner", "certifier")


def configure_keys(parser: argparse.ArgumentParser) -> None:
    """Declare ``--keys``."""
    parser.add_argument("--keys", metavar="DIR", type=Path, help="where the offline keys are (default: offline/)")


def _configure_policy(parser: argparse.ArgumentParser) -> None:
    configure_keys(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--set-from", metavar="FILE", type=Path, help="take this text as the new policy.toml")
    which.add_argument("--show", action="store_true", help="show the policy in force, and sign nothing")


def _policy(args: argparse.Namespace, output: Output) -> None:
    if args.show:
        _show(args, output)
        return
    from crl_server.trust.offline import decode

    def text(office: Office) -> str:
        if args.set_from is None:
            return office.text()
        return decode(read_capped(args.set_from, MAX_POLICY, "policy"))

    sign(args, output, text)


def _configure_plugin(parser: argparse.ArgumentParser) -> None:
    configure_keys(parser)
    parser.add_argument("plugin", metavar="ID", help="the plugin's id")
    for role in _ROLES:
        parser.add_argument(f"--{role}", metavar="NAME", action="append", default=[], help=f"a {role} of it")
    parser.add_argument("--min-version", metavar="V", help="the lowest version that may be loaded")


def _plugin(args: argparse.Namespace, output: Output) -> None:
    from crl_server.trust.policies import with_plugin

    plugin = given(PluginId, args.plugin, "the plugin's id")
    named = [[given(Name, name, f"the {role}") for name in getattr(args, role)] for role in _ROLES]
    builders, rebuilders, owners, certifiers = named
    lowest = given(Version, args.min_version, "the version") if args.min_version else None
    sign(
        args, output,
        lambda office: with_plugin(
            office.text(), plugin, builders, owners, certifiers, lowest, rebuilders=rebuilders
        ),
    )  # fmt: skip
    missing = [role for role, names in (("builder", builders), ("owner", owners)) if not names]
    if missing:
        output.say(f"It has no {' and no '.join(missing)}: until policy.toml names one, hosts refuse it.")


def _configure_principal(parser: argparse.ArgumentParser) -> None:
    configure_keys(parser)
    parser.add_argument("name", metavar="NAME", help="who signs")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--public-key", metavar="PEM", type=Path, help="a file with their public key")
    who.add_argument("--identity", metavar="TOML", type=Path, help="a file with their keyless identity")
    parser.add_argument("--root", metavar="NAME", help="the trusted root that vouches for the identity")
    parser.add_argument("--max-tier", choices=TIERS, help="lets them certify, up to this tier")


def _principal(args: argparse.Namespace, output: Output) -> None:
    from crl_server.trust.policies import with_keyless_principal, with_principal

    name = given(Name, args.name, "the name")
    if bool(args.identity) != bool(args.root):
        raise UsageError("usage.arguments", "--identity and --root go together")
    if args.identity:
        from verifier.signatures.identities import parse_identity

        root = given(Name, args.root, "the trusted root's name")
        identity = parse_identity(read_capped(args.identity, MAX_IDENTITY, "identity"))
        sign(args, output, lambda office: with_keyless_principal(office.text(), name, root, identity, args.max_tier))
        return
    key = public_key_of(args.public_key)
    sign(args, output, lambda office: with_principal(office.text(), name, key, args.max_tier))


def _configure_sigstore(parser: argparse.ArgumentParser) -> None:
    configure_keys(parser)
    parser.add_argument("name", metavar="NAME", help="what the policy calls it")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", type=Path, help="its trusted root, as JSON")
    source.add_argument(
        "--public", action="store_true", help="the public Sigstore's, as sigstore-python brings it along"
    )
    parser.add_argument("--timestamp", action="store_true", help="demand a timestamp authority's word on the time")
    parser.add_argument("--replace", action="store_true", help="in the place of the one of that name")


def _sigstore(args: argparse.Namespace, output: Output) -> None:
    from crl_server.trust.policies import with_trusted_root
    from verifier.deployment.tuf_chain import TRUSTED_ROOT_LIMIT
    from verifier.signatures.keyless import public_trusted_root

    name = given(Name, args.name, "the name")
    data = public_trusted_root() if args.public else read_capped(args.file, TRUSTED_ROOT_LIMIT, "trusted root")
    digest = f"sha256:{sha256_hex(data)}"

    def text(office: Office) -> str:
        kept = office.keep_trusted_root(data)
        return with_trusted_root(office.text(), name, kept, timestamp=args.timestamp, replace=args.replace)

    output.say(f"trusted root {name}: {digest}")
    sign(args, output, text, more={"trusted_root": digest})


def public_key_of(path: Path) -> PublicKey:
    """The public key in a file.

    Raises:
        UsageError: ``usage.key``, ``io.failed``.
    """
    try:
        return PublicKey.from_pem(read_capped(path, MAX_KEY, "public key"))
    except Refused as error:  # not a check that said no: the wrong file was named
        raise UsageError(error.code, error.what, found=error.found, expected="a P-256 or Ed25519 PUBLIC KEY") from error


def sign(
    args: argparse.Namespace,
    output: Output,
    text: Callable[[Office], str],
    *,
    why: str = "",
    more: Mapping[str, Any] | None = None,
) -> None:
    """Sign the policy that ``text`` makes, and say so.

    Args:
        args: a command's, with ``--keys``.
        output: where results go.
        text: makes the new ``policy.toml``.
        why: what led to it, for the audit log.
        more: what else the JSON object says.
    """
    with opened(args) as authority:
        office = authority.office(args.keys)
        signed = office.sign_policy(text(office), local_actor(), now(), why)
        root = _root(authority)
    policy = signed.policy
    output.say(f"policy {policy.version} of {policy.deployment!s} is signed and in force, until {policy.valid_until}")
    if not signed.enrolment:
        output.say("The root keys are not here: hosts enrol with the bundle of before, and move up at once.")
    output.result(
        {
            "ok": True,
            "deployment": policy.deployment,
            "version": policy.version,
            "valid_until": policy.valid_until,
            "root": root,
            "enrolment_signed": signed.enrolment,
            **(more or {}),
        }
    )


def _show(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        policy, root = authority.repository.trust().policy, _root(authority)
        text = authority.office().text()
    output.say(f"# policy {policy.version}, valid until {policy.valid_until}, root of trust {root}")
    output.say(text)
    output.result({"ok": True, "deployment": policy.deployment, "root": root, "policy": plain(policy)})


def _root(authority: Authority) -> str:
    version = authority.repository.trust().root_version
    return f"sha256:{sha256_hex(authority.repository.root(version))}"


COMMANDS = (
    Command("trust policy", "sign the policy that people write as TOML", _configure_policy, _policy),
    Command("trust add-plugin", "name a plugin and its principals in the policy", _configure_plugin, _plugin),
    Command("trust add-sigstore", "name a Sigstore whose word counts", _configure_sigstore, _sigstore),
    Command("trust add-principal", "name somebody who signs in the policy", _configure_principal, _principal),
)
