"""Models that an encoding is put into."""
