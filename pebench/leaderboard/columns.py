"""Columns of the CSV files that are both written and read back."""

COSTS = (
    *("parameters", "encoding_parameters", "item"),
    *("items_per_second", "peak_memory_bytes", "kernels", "seeds"),
)
"""What `costs.csv` says of each row and place."""

ENVIRONMENT = ("commit", "dirty", "pebench", "python", "device", "cuda", "threads")
"""Facts of `pebench.running.provenance.describe` about code and machine in `runs.csv`; no host's name."""
