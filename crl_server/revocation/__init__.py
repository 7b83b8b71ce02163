"""What is revoked, by whom, and how it is taken back."""
