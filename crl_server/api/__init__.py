"""The web edge: requests in, answers and problem documents out. What it does is done by the authority."""
