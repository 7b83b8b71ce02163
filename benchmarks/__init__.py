"""Figures, side by side with what a user would pick instead; each module says in its first lines what it measures."""
