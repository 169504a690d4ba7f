"""A page and files of designs for people."""
