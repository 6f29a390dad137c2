"""The published SeqPE text code, imported from a checkout of github.com/ghrua/seqpe at 4c4b908.

Its GPT-2, encoder, samplers and criteria are read from the files of the checkout, unchanged. They are part of
a copy of transformers; stand-ins replace what they take from the rest of it, so that torch, numpy, packaging
and safetensors suffice.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ROOT = "published"
"""Name of the package that the files are imported under."""


@dataclass(frozen=True)
class Setting:
    """Sizes of the GPT-2 and the encoder; all else is as `runs/ours_gpt2_wt103.sh` of the checkout sets it.

    Attributes:
        vocabulary: tokens that the GPT-2 knows.
        width: channels of both.
        layers: of the GPT-2; the encoder has two.
        heads: of both.
        longest: most tokens that the GPT-2 reads at once.
        places: positions that the encoder can spell.
        dropout: of the encoder's residual branches. The GPT-2 has none, as in the sweep beside it.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    longest: int
    places: int
    dropout: float = 0.1

    @property
    def digits(self) -> int:
        """Digits of the largest position."""
        return len(str(self.places - 1))


class Published(NamedTuple):
    """Modules of the checkout."""

    gpt2: Any
    sequential_pe: Any
    sampler: Any
    criterion: Any
    utilities: Any

    def model(self, setting: Setting) -> Any:
        """The GPT-2, with attention logits from the encoder's vectors by one projection for all layers."""
        position_encoding = SimpleNamespace(
            PE_TYPE="seq_pe",
            PE_APPLY_METHOD="attn_scalar",
            PE_EMBED_DIM=setting.width,
            PE_OUT_PROJ_DIM=setting.width,
            PE_MAX_POSITION=setting.places,
            PE_DATA_DIM=1,
            NUM_ATTENTION_HEADS=setting.heads,
            USE_PE_MULTI_HEAD=True,
            USE_PE_QK_PER_LAYER="single",
            SEQPE_SCALAR_SCALE=1.0,
        )
        config: dict[str, Any] = {
            **dict.fromkeys(("hidden_size", "n_embd"), setting.width),
            **dict.fromkeys(("num_hidden_layers", "n_layer"), setting.layers),
            **dict.fromkeys(("num_attention_heads", "n_head"), setting.heads),
            **dict.fromkeys(("max_position_embeddings", "n_positions"), setting.longest),
            **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0),
            **dict.fromkeys(("scale_attn_weights", "use_return_dict"), True),
            **dict.fromkeys(("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"), False),
            **dict.fromkeys(("add_cross_attention", "use_cache"), False),
            **dict.fromkeys(("output_attentions", "output_hidden_states"), False),
            **dict.fromkeys(("n_inner", "pad_token_id"), None),
            "layer_norm_epsilon": 1e-5,
            "initializer_range": 0.02,
            "activation_function": "gelu_new",
            "_attn_implementation": "eager",
            "vocab_size": setting.vocabulary,
            "pe_config": position_encoding,
        }
        return self.gpt2.GPT2LMHeadModel(SimpleNamespace(**config))

    def encoder(self, setting: Setting) -> Any:
        """The encoder of digit strings."""
        return self.sequential_pe.SequentialPE(
            setting.width,
            setting.heads,
            layer_num=2,
            max_digits=setting.digits,
            out_proj_dim=setting.width,
            use_last_layernorm=True,
            mask_padding=False,
            resid_pdrop=setting.dropout,
            attn_pdrop=0.0,
        )

    def criteria(self, setting: Setting) -> tuple[Any, Any]:
        """Those of the contrastive objective and of the distillation."""
        distillation = self.criterion.SeqPeTransferCriterion(1.0, "kl_div", num_heads=setting.heads)
        return self.criterion.SeqPeContrastiveCriterion(), distillation

    def spelt(self, positions: list[int], setting: Setting) -> tuple[Tensor, Tensor]:
        """(N, digits) digits of N positions, and (N, digits) which of them are padding."""
        strings, padding = self.utilities.PeUtils.prepare_seqpe_data(positions, setting.digits)
        return strings, padding


def load(checkout: Path) -> Published:
    """Imports the modules.

    Args:
        checkout: the folder that holds `text_seqpe`.

    Raises:
        FileNotFoundError: it does not.
    """
    source = checkout / "text_seqpe" / "src" / "transformers"
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder: name a checkout of ghrua/seqpe.")
    for name in ("", ".models", ".custom_modules", ".models.gpt2"):
        _stand_in(name).__path__ = [str(source.joinpath(*name.split(".")))]
    names = ("activations", "pytorch_utils", "sequential_pe", "pe_sampler", "pe_criterion", "pe_utils")
    own = {name: importlib.import_module(f"{ROOT}.custom_modules.{name}") for name in names}
    sys.modules[f"{ROOT}.activations"] = own["activations"]
    sys.modules[f"{ROOT}.pytorch_utils"] = own["pytorch_utils"]
    own["pytorch_utils"].find_pruneable_heads_and_indices = None  # type: ignore[attr-defined]
    _stand_in(".generation", GenerationMixin=type("GenerationMixin", (), {}))
    _stand_in(".modeling_attn_mask_utils")
    _stand_in(".modeling_outputs", default=_Output)
    _stand_in(".modeling_utils", PreTrainedModel=_Model)
    _stand_in(".models.gpt2.configuration_gpt2")
    logs = SimpleNamespace(get_logger=logging.getLogger)
    _stand_in(".utils", default=_undecorated, ModelOutput=_Output, logging=logs)
    _stand_in(".utils.model_parallel_utils")
    gpt2 = importlib.import_module(f"{ROOT}.models.gpt2.modeling_gpt2")
    return Published(gpt2, own["sequential_pe"], own["pe_sampler"], own["pe_criterion"], own["pe_utils"])


class _StandIn(ModuleType):
    """A module in place of one of transformers; what it is not given is `default`."""

    default: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.default


def _stand_in(name: str, **values: Any) -> ModuleType:
    module = sys.modules[ROOT + name] = _StandIn(ROOT + name)
    vars(module).update(values)
    return module


def _undecorated(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return _itself


def _itself(function: Any) -> Any:
    return function


class _Output(SimpleNamespace):
    """Values by name, or by number among those that are there."""

    def __getitem__(self, key: int | slice) -> Any:
        return [value for value in vars(self).values() if value is not None][key]


class _Model(nn.Module):
    """What the GPT-2 inherits. It draws its weights itself; the last matrix is tied to the first."""

    def __init__(self, config: Any, *_: Any, **__: Any) -> None:
        super().__init__()
        self.config = config
        self.warn_if_padding_and_no_attention_mask = _undecorated

    def post_init(self) -> None:
        model: Any = self
        model.apply(model._init_weights)
        if hasattr(model, "lm_head"):
            model.lm_head.weight = model.transformer.wte.weight

    def get_head_mask(self, _: Any, layers: int) -> list[None]:
        return [None] * layers

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
