"""Published projects, built again from their sdists."""
