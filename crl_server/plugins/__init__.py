"""What was admitted, and how it is found."""
