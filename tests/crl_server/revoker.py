"""For each name on the standard input: a child that revokes without end, and prints what was acknowledged.

The children are there to be killed. They are forked, because starting an interpreter takes longer than all they do.
Each revocation is asked for under a key, so that it can be asked for again.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from crl_server.revocation.revoking import Order
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, NOW, digest


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())  # one write: a line is whole or not there


def revoke(authority: Authority, label: str) -> None:
    """Revoke under a key that belongs to the label."""
    authority.revoke(Order((digest(label),), "malicious"), ACTOR, NOW, f"key of {label}")


def work(directory: Path, name: str) -> None:
    say(str(os.getpid()))
    authority = Authority(directory)
    authority.reconcile(NOW)
    for number in itertools.count():
        label = f"{name}-{number}"
        revoke(authority, label)
        say(label)


def main() -> None:
    first = Authority(Path(sys.argv[1]))  # imports, once for all children, what is imported late
    first.reconcile(NOW)
    first.close()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(Path(sys.argv[1]), line.strip())
        os.waitpid(child, 0)
        say("dead")


if __name__ == "__main__":
    main()
