"""Arithmetic that several encodings share."""
