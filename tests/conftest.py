"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes is the machine's business. What is found is printed as code to repeat it.
settings.register_profile("loadlock", deadline=None, print_blob=True)
settings.load_profile("loadlock")
