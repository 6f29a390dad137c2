"""No position encoding: order enters through causal masking alone (NoPE)."""

from pebench.position_encoding import PositionEncoding, TableInputs


class NoPositionEncoding(PositionEncoding):
    """Adds nothing and turns nothing."""

    axes = (1, 2, 3)
    acts = ""
    cost = "nothing"
    claims = ("shift", "reversal", "grid-row")
    source = "Haviv et al. 2022, https://arxiv.org/abs/2203.16634; Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466"

    def table(self, x: TableInputs) -> None:
        """Nothing."""
