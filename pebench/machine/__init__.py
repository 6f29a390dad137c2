"""The machine that a process finds itself on."""
