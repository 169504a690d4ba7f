"""Options: option-critic agents and the Hellinger regularizer.

The names are resolved on first use, as those of :mod:`rlgen.agents`.
"""
