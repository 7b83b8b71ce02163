"""Wheels: read strictly, held against their RECORD, kept as snapshots."""
