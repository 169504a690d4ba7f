"""Briefs, and searches for designs that meet them."""
