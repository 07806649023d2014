"""The laboratory: sealed networks, real traffic, and readers of real collectors."""
