"""The trust repository: its roles and keys, how they change, and how it is won back."""
