"""``python -m loadlock`` is the command ``loadlock``."""

from __future__ import annotations

import sys

from loadlock.cli import main

sys.exit(main())
