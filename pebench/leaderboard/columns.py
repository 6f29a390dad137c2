"""Columns of the CSV files that are both written and read back."""

COSTS = (
    *("parameters", "encoding_parameters", "item"),
    *("items_per_second", "peak_memory_bytes", "kernels", "seeds"),
)
"""What `costs.csv` says of each row and place."""
