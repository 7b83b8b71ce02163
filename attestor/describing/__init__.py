"""What is said of a wheel: its manifest, SBOM and provenance."""
