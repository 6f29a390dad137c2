"""Log-n scaling: logits grow with the logarithm of the number of keys beyond those of training."""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from pebench.errors import UserError
from pebench.position_encoding import AttentionInputs, Extrapolation, Geometry, PositionEncoding, TableInputs

LARGEST = 2.0
"""Bound of a fitted β. Published ones are below a half."""


def _number_or_fitted(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value in (None, "fitted") or (number and value >= 0):  # type: ignore[operator]
        return value
    raise ValueError("it is a number from 0 on, or 'fitted'")


Beta = Annotated[Annotated[float, Field(ge=0)] | Literal["fitted"] | None, BeforeValidator(_number_or_fitted)]


class LogNEncoding(PositionEncoding):
    """logit·max(1, 1 + β·ln(n/L₀)) for a query that sees n keys. With β = 1/ln L₀ that is ln n/ln L₀.

    L₀ is the number of keys at the trained extent, those without a position included. With `count: extent` n
    is that of the extent served, one for all queries, as DroPE has it, with `beta: fitted`: at each extent β
    is the one with the least loss on text that is held out.
    """

    axes = (1, 2, 3)
    acts = "T"
    cost = "one factor on each query"
    claims = ("shift", "reversal", "grid-row")
    source = (
        "Su 2021, https://kexue.fm/archives/8823; β: Gelberg et al. 2025, https://arxiv.org/abs/2512.12167"
    )

    def __init__(
        self,
        geometry: Geometry,
        beta: Beta = None,
        reference: Annotated[int, Field(ge=1)] | None = None,
        count: Literal["keys", "extent"] = "keys",
    ) -> None:
        """
        Args:
            beta: β, by default 1/ln L₀; or `fitted`.
            reference: another L₀, such as one below the trained extent, so that training has the factor too.
            count: what n is.
        """
        super().__init__(geometry)
        trained = math.prod(geometry.extent) + geometry.prefix_tokens
        self.reference, self.fits = reference or trained, beta == "fitted"
        if self.fits and self.reference < trained:
            raise ValueError(f"training goes beyond {self.reference} keys, where β is not fitted yet")
        if beta is None and self.reference < 2:
            raise ValueError("ln L₀ of a single key is 0: give a beta, or a reference of two keys or more")
        self.beta = 1 / math.log(self.reference) if beta is None else None if beta == "fitted" else beta
        self.by_extent = count == "extent"

    def fit(self, loss: Callable[[], float], extrapolation: Extrapolation) -> dict[str, float]:
        """β, where it is fitted and the extent goes beyond L₀."""
        if not self.fits:
            return {}
        self.beta = 0.0
        if self._served(extrapolation.extent) <= self.reference:
            return {}
        from scipy.optimize import minimize_scalar

        def loss_at(beta: float) -> float:
            self.beta = float(beta)
            return loss()

        found = minimize_scalar(loss_at, bounds=(0, LARGEST), method="bounded", options={"xatol": 1e-3})
        # The search never tries its bounds.
        self.beta = 0.0 if loss_at(0.0) <= found.fun else float(found.x)
        return {"beta": self.beta}

    def table(self, x: TableInputs) -> int:
        """The number of places that are served: keys are counted by attention.

        Raises:
            UserError: they are more than L₀, and no β has been fitted.
        """
        served = self._served(x.extent)
        if self.beta is None and served > self.reference:
            raise UserError(
                f"the β of 'log-n' is fitted where a run is evaluated: to serve {served} keys elsewhere, "
                "give the number that the log of the run names, as 'beta'."
            )
        return served

    def temperature(self, x: AttentionInputs) -> Tensor:
        """(B|1, 1, N): never below 1."""
        seen = x.mask.keys_seen()[:, None].float()
        count = torch.full_like(seen, x.q_table) if self.by_extent else seen
        return 1 + (self.beta or 0.0) * (count / self.reference).log().clamp(min=0)

    def _served(self, extent: tuple[int, ...]) -> int:
        return math.prod(extent) + self.geometry.prefix_tokens
