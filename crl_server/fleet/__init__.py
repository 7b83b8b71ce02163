"""The hosts: what they say of themselves, and how far they follow."""
