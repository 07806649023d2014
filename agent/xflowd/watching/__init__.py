"""Watching and steering a running agent: what it answers, and how commands show it.

On the agent's side `live` and `steering`; the rest is the commands', and needs no numpy.
"""
