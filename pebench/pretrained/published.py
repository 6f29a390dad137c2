"""Published models of either kind, by what stands for them in place of the id of a run."""

from __future__ import annotations

from pebench.models.timm_weights import TimmModel, timm_model
from pebench.pretrained.hf_model import HfModel, hf_model
from pebench.specification.run_spec import HF, PUBLISHED

Published = TimmModel | HfModel


def is_published(name: str) -> bool:
    """Whether a text stands for a published model."""
    return name.startswith(PUBLISHED)


def published_model(reference: str) -> Published:
    """The published model of a reference, ``timm:…`` or ``hf:…``.

    Raises:
        UserError: there is none such, or none that can be a model here.
    """
    return hf_model(reference) if reference.startswith(HF) else timm_model(reference)
