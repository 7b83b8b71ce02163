"""Verification: from the evidence, by numbered steps, to a decision."""
