"""How a command line becomes a command, and its mistakes one sentence."""
