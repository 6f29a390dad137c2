"""Trained language models of others: causal ones in the format of transformers, in and out."""
