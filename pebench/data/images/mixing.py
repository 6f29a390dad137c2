"""Pictures mixed with one another: mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019), by timm."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from pebench.machine.torchvision_operators import declare_missing
from pebench.specification.run_spec import Frozen

Alpha = Annotated[float, Field(ge=0)]


class Mixing(Frozen):
    """How the pictures of a batch are mixed in pairs, all in one way.

    Attributes:
        mixup, cutmix: parameters of the beta distribution of the shares; 0 for never.
        switch: probability of cutmix where both may be.
    """

    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    switch: Annotated[float, Field(ge=0, le=1)] = 0.5

    @property
    def mixes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.mixup or self.cutmix)

    def mixed(self, images: Tensor, labels: Tensor, classes: int, smoothing: float) -> tuple[Tensor, Tensor]:
        """Images (B, 3, rows, columns), changed in place, and (B, classes) target probabilities.

        Draws from numpy's global random state.

        Args:
            images: B is even. labels: (B,). classes: there are. smoothing: of the targets.
        """
        declare_missing()
        from timm.data import Mixup

        mixer = Mixup(
            mixup_alpha=self.mixup,
            cutmix_alpha=self.cutmix,
            switch_prob=self.switch,
            label_smoothing=smoothing,
            num_classes=classes,
        )
        found: tuple[Tensor, Tensor] = mixer(images, labels)
        return found


NOT_MIXED = Mixing()
