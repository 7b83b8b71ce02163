"""``webhook add``, ``ls``, ``test``, ``retry`` and ``rm``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from crl_server.commands.common import needing_the_extra, now, opened
from crl_server.settings import Topic, Webhook
from verifier.command import Command, Output, given
from verifier.errors import UsageError
from verifier.files import write_atomic
from verifier.formats.text import Name, Time

if TYPE_CHECKING:
    from crl_server.service import Authority

TAKEN_UP = "A server that runs takes it up within seconds."


def _configure_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="how it is called")
    parser.add_argument("url", metavar="URL", help="where events are sent to")
    parser.add_argument("--topic", choices=get_args(Topic), action="append", help="of what alone (default: everything)")
    parser.add_argument("--internal", action="store_true", help="its address is not a public one")


def _add(args: argparse.Namespace, output: Output) -> None:
    name = given(Name, args.name, "the name")
    with opened(args) as authority, needing_the_extra():
        from crl_server.webhooks import outbox
        from crl_server.webhooks.secrets import new_secret

        if any(found.name == name for found in authority.settings.webhook):
            raise UsageError("usage.exists", "there is a webhook of this name", found=name)
        secret, file = new_secret(), f"webhook-{name}.secret"
        table: dict[str, Any] = {"name": str(name), "url": args.url, "secret": file}
        table |= {"topics": sorted(set(args.topic))} if args.topic else {}
        table |= {"internal": True} if args.internal else {}
        settings = _changed(authority, lambda tables: [*tables, table])
        with authority.store.write() as ledger:
            outbox.begin(ledger, name)
        write_atomic(authority.layout.settings.parent / file, f"{secret}\n".encode(), mode=0o600)
        write_atomic(authority.layout.settings, settings, mode=0o600)
    output.say(secret)
    output.say(f"the secret of {name}, for its receiver; it stays in server/{file}. {TAKEN_UP}")
    output.result({"ok": True, "name": name, "secret": secret})


def _configure_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="which webhook")


def _rm(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority, needing_the_extra():
        from crl_server.webhooks import outbox

        webhook = _named(authority, args.name)
        settings = _changed(authority, lambda tables: [found for found in tables if found["name"] != webhook.name])
        write_atomic(authority.layout.settings, settings, mode=0o600)
        with authority.store.write() as ledger:
            outbox.stop(ledger, webhook.name)
        with authority.store.claim() as ledger:
            outbox.forget(ledger, webhook.name)
    output.say(f"{webhook.name} is told of nothing any more. {TAKEN_UP} Its secret's file is left where it is.")
    output.result({"ok": True, "name": webhook.name})


def _ls(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority, needing_the_extra():
        from crl_server.webhooks import outbox

        listed = []
        for webhook in authority.settings.webhook:
            with authority.store.read() as ledger:
                found = outbox.backlog(ledger, webhook.name)
            shown = {"topics": list(webhook.topics), "pending": found.pending, "given_up": found.dead}
            listed.append({"name": webhook.name, **shown})
            output.say(
                f"{webhook.name:<24} {found.pending} pending, {found.dead} given up; {', '.join(webhook.topics)}"
            )
    if not listed:
        output.say("there is no webhook")
    output.result({"ok": True, "webhooks": listed})


def _test(args: argparse.Namespace, output: Output) -> None:
    moment = now()
    with opened(args) as authority, needing_the_extra():
        from crl_server.webhooks.events import probe
        from crl_server.webhooks.worker import post

        event = probe(authority.record.server, Time.of(moment))
        status = post(_named(authority, args.name), authority.layout, event, moment)
    output.say(f"{args.name} has taken event {event.id} with status {status}")
    output.result({"ok": True, "name": args.name, "id": event.id, "status": status})


def _retry(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority, needing_the_extra():
        from crl_server.webhooks import outbox

        webhook = _named(authority, args.name)
        with authority.store.claim() as ledger:
            count = outbox.revive(ledger, webhook.name, now())
    output.say(f"{webhook.name} is told of {count} events again, as soon as the server runs")
    output.result({"ok": True, "name": webhook.name, "events": count})


def _named(authority: Authority, name: str) -> Webhook:
    found = next((webhook for webhook in authority.settings.webhook if webhook.name == name), None)
    if found is None:
        known = ", ".join(webhook.name for webhook in authority.settings.webhook)
        raise UsageError("usage.arguments", "there is no such webhook", found=ascii(name), expected=known or "none")
    return found


def _changed(authority: Authority, change: Any) -> bytes:
    """The settings with other webhooks; everything else in the file stays as people wrote it."""
    import tomlkit

    from crl_server.settings import parse_settings
    from verifier.files import read_capped

    path = authority.layout.settings
    text = read_capped(path, 1 << 20, path.name).decode("utf-8") if path.exists() else ""
    document = tomlkit.parse(text)
    tables = tomlkit.aot()
    for table in change([dict(found) for found in document.get("webhook", [])]):
        tables.append(tomlkit.item(table))
    document.pop("webhook", None)
    if len(tables):
        document["webhook"] = tables
    data = tomlkit.dumps(document).encode()
    parse_settings(data)
    return data


COMMANDS = (
    Command("webhook add", "tell a receiver of revocations and expiries", _configure_add, _add),
    Command("webhook ls", "list webhooks, and what they are still to be told", lambda _: None, _ls),
    Command("webhook test", "send a webhook an event that says nothing", _configure_name, _test),
    Command("webhook retry", "tell a webhook again of what was given up", _configure_name, _retry),
    Command("webhook rm", "tell a webhook of nothing any more", _configure_name, _rm),
)
