"""Solids from design actions: the table of operations, geometry, history."""
