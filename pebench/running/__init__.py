"""One run: trained, evaluated, resumed, and brought to its result."""
