"""Text, questions, pictures and drawn sequences, from their files to batches."""
