#!/usr/bin/env bash
# Sees to the programs outside Python that the test suite runs. Called by 'make test'.
#
# A missing one is installed from the distribution's packages where that is allowed (root, apt-get). Otherwise one line
# names what is left out and how to get it; in CI (CI=true) that is an error.
set -euo pipefail

# One a line: the program, the Debian package that brings it.
programs=(
    "chromium chromium"
    "diffoscope diffoscope-minimal"
    "git git"
    "nginx nginx-light"
    "npm npm"
    "pg_ctlcluster postgresql"
    "promtool prometheus"
    "rsync rsync"
    "softhsm2-util softhsm2"
    "systemd-analyze systemd"
)

missing_programs() {
    local program package
    for entry in "${programs[@]}"; do
        read -r program package <<<"$entry"
        command -v "$program" >/dev/null || echo "$package"
    done | sort -u
}

missing=$(missing_programs)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing: ${missing//$'\n'/ }"
    export DEBIAN_FRONTEND=noninteractive
    # A failure here is judged below, by what is still missing.
    { apt-get update -qq && xargs apt-get install -y -qq --no-install-recommends <<<"$missing"; } || true
    missing=$(missing_programs)
fi

[ -n "$missing" ] || exit 0
echo "left out: tests that need ${missing//$'\n'/ } (on Debian: apt-get install ${missing//$'\n'/ })" >&2
[ "${CI:-}" != "true" ]
