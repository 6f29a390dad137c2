"""Bases of tasks: what those have in common whose model is the same, and those whose data is of one form."""
