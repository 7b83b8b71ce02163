"""From a source to a wheel, twice, and once more by somebody else."""
