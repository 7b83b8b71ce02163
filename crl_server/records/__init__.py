"""The audit log: chained, exported, told to others."""
