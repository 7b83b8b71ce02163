"""Whose signature it is, and whether it is: keys and keyless identities; and the private keys of whoever signs."""
