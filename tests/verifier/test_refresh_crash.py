"""Killed at any moment of a refresh, a host goes by the old state or the new one, and the next pass completes it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from tests.live_deployment import LiveDeployment, digest
from verifier.formats.text import Time

# One process without threads, so that it may fork: each child is killed at its next file-system step.
SCRIPT = """
import json, os, shutil, sys
from pathlib import Path
from verifier.formats.text import Hex, Time
from verifier.deployment.home import Home
from verifier.refreshing.refresh import Refresher

origin, work, old_digest, new_digest = Path(sys.argv[1]), Path(sys.argv[2]), Hex(sys.argv[3]), Hex(sys.argv[4])
now = Time(sys.argv[5]).instant
STEPS = ("replace", "fsync", "unlink")

def dies_at(step):
    count = 0
    def counted(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step:
                os._exit(9)
            return real(*args, **kwargs)
        return call
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))

def summary(directory):
    in_force = Home(directory).in_force(now)
    return [in_force.trust.policy.version, in_force.revocations.checkpoint.epoch,
            in_force.revocations.lists(old_digest), in_force.revocations.lists(new_digest)]

seen, step, status = [], 0, None
while status != 0:
    step += 1
    directory = work / str(step)
    shutil.copytree(origin, directory)
    if (child := os.fork()) == 0:
        dies_at(step)
        Refresher(Home(directory)).refresh(now, trust=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen.append(summary(directory))
    Refresher(Home(directory)).refresh(now, trust=True)
    assert summary(directory) == [2, 2, False, True], summary(directory)
    shutil.rmtree(directory)
print(json.dumps(seen))
"""


def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    with LiveDeployment() as live:
        live.revoke(digest(1), digest(2))
        host = live.host(tmp_path / "origin")
        live.pass_time(timedelta(seconds=5))
        live.publish_policy(2)
        live.revoke(digest(3))
        # Policy, checkpoint and head all change at once: the worst moment to be interrupted.
        live.publish_epoch(2, 2, [digest(2)], removed=[digest(1)])
        arguments = [host.home.directory, tmp_path / "work", digest(1), digest(3), Time.of(live.now)]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    old, new = [1, 1, True, False], [2, 2, False, True]
    moment = seen.index(new)
    assert moment > 20
    assert seen == [old] * moment + [new] * (len(seen) - moment)
