"""The processes that serve: what each of them answers first, what one does for all, and the team of several."""
