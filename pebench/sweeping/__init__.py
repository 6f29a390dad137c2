"""Sweeps as files: what is written, and the cells it stands for."""
