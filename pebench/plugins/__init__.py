"""Which encodings and tasks there are, and where they come from."""
