"""`xflowd doctor`: proves the way of a packet, from the interface to the collector's host, and says what is in it.

A module for each kind of question. Each check gets the Situation and yields Findings; what it needs to know of the
host it reads below `root`, or is told by the Situation, so that a test can make any host.
"""
