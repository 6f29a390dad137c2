"""What a run is to do: its specification, and how users write it."""
