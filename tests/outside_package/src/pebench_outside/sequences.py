"""Sequences: language modelling whose throughput counts whole sequences."""

from pebench.task import Batch
from pebench.tasks.language_modeling import LanguageModeling


class SequenceModeling(LanguageModeling):
    """Everything else is as it is in language modelling."""

    axes = 1
    causal = True
    item = "sequences"

    def items(self, batch: Batch) -> int:
        """Sequences of a batch."""
        return int(next(iter(batch.values())).shape[0])
