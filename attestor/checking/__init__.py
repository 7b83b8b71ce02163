"""What is looked at before anybody signs."""
