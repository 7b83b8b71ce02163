"""What looks like something that must not be told: credentials, paths of a machine, places to download from.

Each pattern is about a shape that means one thing. Words that honest people use in a sentence (a password, a token, a
key) are no find by themselves: only with a value behind them. Owners and certifiers hold what others wrote against
them, so that none may take more than a bounded look ahead from wherever it begins.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PATH = "a path of the machine that built"
USERINFO = re.compile(r"(?<=://)[^\s/@\"'<>]+@")


class Pattern(NamedTuple):
    """What is found, and how."""

    what: str
    expression: re.Pattern[str]


# Prefixes that the issuers of tokens publish so that they can be found.
_TOKENS = (
    r"gh[opsur]_[A-Za-z0-9]{20,}",
    r"github_pat_\w{20,}",
    r"gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct)-(?:t\d_)?[\w.-]{20,}",
    r"GR1348941[\w-]{20,}",
    r"pypi-[\w-]{40,}",
    r"npm_[A-Za-z0-9]{36}",
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",
    r"xox[abeoprs]-[\w.-]{10,}",
    r"xapp-\d-[\w-]{10,}",
    r"hooks\.slack\.com/services/T\w+/B\w+/\w+",
    r"AIza[\w-]{35}",
    r"ya29\.[\w-]{20,}",
    r"GOCSPX-[\w-]{20,}",
    r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"sk-(?:ant|proj|svcacct|or)-[\w-]{20,}",
    r"sk-[A-Za-z0-9]{40,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"dckr_[a-z]{3}_[\w-]{20,}",
    r"do[opr]_v1_[0-9a-f]{40,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"hv[sbr]\.[\w-]{20,}",
    r"dapi[0-9a-f]{32}",
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    r"AGE-SECRET-KEY-1[0-9A-Z]{40,}",
    r"eyJ[\w-]{10,400}\.eyJ[\w-]{10,4000}\.[\w-]",
    r"loadlock_[A-Za-z0-9]{20,}",
)
# Names under which a value is a credential, in a query, a fragment, an option or a setting.
_NAMES = (
    r"(?:(?:access|auth|bearer|index|job|private|refresh|security|session)[_-]?)?token|api[_-]?key|"
    r"(?:client|shared)[_-]?secret|secret(?:[_-]?access)?[_-]?key|secret|passw(?:or)?d|passphrase|pwd|"
    r"account[_-]?key|shared[_-]?access[_-]?(?:key|signature)|x-amz-(?:signature|security-token)"
)
# What stands for a value without being one.
_PLACEHOLDER = r"(?![<{$*…\"'\[]|(?:none|null|true|false|string|str|bool|required|optional|your)\b)"

PATTERNS = (
    Pattern("credentials in an address", USERINFO),
    # A slash in a password ends the host for those who read strictly; not for whoever typed it.
    Pattern("credentials in an address", re.compile(r"//[^\s/:@\"'<>]+:(?!\d*(?:[/?#]|\Z))[^\s@\"'<>]{1,200}@")),
    Pattern("a private key", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d")),
    Pattern("an access token", re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(_TOKENS) + ")")),
    Pattern("a credential in a query", re.compile(r"[?&](?:sig|signature|key|x-amz-credential)=", re.IGNORECASE)),
    Pattern("a credential in a query", re.compile(rf"[?&#;](?:{_NAMES})=", re.IGNORECASE)),
    Pattern(
        "a credential by its name", re.compile(rf"(?<![\w-])(?:--?)?(?:{_NAMES})=(?!=){_PLACEHOLDER}\S{{6,}}", re.I)
    ),
    Pattern("a credential by its name", re.compile(rf"(?<!\S)--(?:{_NAMES})\s+(?!-){_PLACEHOLDER}\S{{6,}}", re.I)),
    Pattern("a credential in a header", re.compile(r"\bauthorization\s*[:=]\s*[a-z]+\s+[\w+/.~=-]{8,}", re.IGNORECASE)),
    Pattern("a file address", re.compile(r"\bfile:/", re.IGNORECASE)),
    Pattern(
        PATH,
        re.compile(
            r"(?:(?<![\w./-])|(?<=\s-[ILBF])|(?<=\A-[ILBF])|(?<=/mnt/[a-z]))"
            r"/(?:home|root|Users|tmp|var/tmp|var/folders|private/(?:var|tmp)|run/user|dev/shm|builds|github|__[wt]|"
            r"Volumes|media|export/home|usr/home|var/lib/jenkins|var/jenkins_home|opt/hostedtoolcache)/"
        ),
    ),
    Pattern(PATH, re.compile(r"\b[a-z]:[\\/]{1,2}(?:Users|Temp|Windows|Documents and Settings)\b", re.IGNORECASE)),
    Pattern(PATH, re.compile(r"(?<![\\\w])\\\\[A-Za-z0-9][\w.-]+\\[A-Za-z0-9$][\w$.-]+")),
    Pattern(PATH, re.compile(r"(?<![\w/~.=<>!\"'-])~[a-z_][\w-]*/")),
    Pattern(
        "an address to download from",
        re.compile(
            r"://[^\s\"']{1,500}\.(?:whl|egg|zip|tgz|tar\.(?:gz|bz2|xz|zst|Z))\b"
            r"|\bhttps?://[^\s\"']{1,500}/\+?simple(?=[/?#\s\"',;)]|\Z)"
            r"|[?&]download_url=|\s@\s{1,5}[a-z][a-z0-9+.-]{0,30}://",
            re.IGNORECASE,
        ),
    ),
)
