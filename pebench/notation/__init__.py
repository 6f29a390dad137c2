"""How numbers, amounts and text are written and read."""
