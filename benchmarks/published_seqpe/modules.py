"""The published SeqPE text code, imported from a checkout of github.com/ghrua/seqpe at 4c4b908.

Its GPT-2, encoder, samplers and criteria are read from the files of the checkout, unchanged. They are part of a
copy of transformers; what they take from the rest of it is replaced by stand-ins here, so that torch, numpy,
packaging and safetensors suffice.
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
        width: channels of the GPT-2 and the encoder.
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

    def model(self, setting: Setting) -> nn.Module:
        """The GPT-2, with attention logits from the encoder's vectors by one projection for all layers."""
        config = SimpleNamespace(
            vocab_size=setting.vocabulary,
            hidden_size=setting.width,
            n_embd=setting.width,
            num_hidden_layers=setting.layers,
            n_layer=setting.layers,
            num_attention_heads=setting.heads,
            n_head=setting.heads,
            max_position_embeddings=setting.longest,
            n_positions=setting.longest,
            n_inner=None,
            activation_function="gelu_new",
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            layer_norm_epsilon=1e-5,
            initializer_range=0.02,
            scale_attn_weights=True,
            scale_attn_by_inverse_layer_idx=False,
            reorder_and_upcast_attn=False,
            add_cross_attention=False,
            use_cache=False,
            use_return_dict=True,
            output_attentions=False,
            output_hidden_states=False,
            pad_token_id=None,
            _attn_implementation="eager",
            pe_config=SimpleNamespace(
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
            ),
        )
        model: nn.Module = self.gpt2.GPT2LMHeadModel(config)
        return model

    def encoder(self, setting: Setting) -> nn.Module:
        """The encoder of digit strings."""
        encoder: nn.Module = self.sequential_pe.SequentialPE(
            pe_embed_dim=setting.width,
            out_proj_dim=setting.width,
            num_attention_heads=setting.heads,
            layer_num=2,
            max_digits=setting.digits,
            attn_direction="causal",
            use_last_layernorm=True,
            mask_padding=False,
            activation_function="gelu_new",
            resid_pdrop=setting.dropout,
            attn_pdrop=0.0,
            scale_attn_weights=True,
            use_cls_token=True,
            seqpe_temperature=1.0,
            seqpe_init_norm_weight=1.0,
            data_dim=1,
        )
        return encoder

    def contrast(self) -> nn.Module:
        """The criterion of the contrastive objective."""
        criterion: nn.Module = self.criterion.SeqPeContrastiveCriterion()
        return criterion

    def distillation(self, setting: Setting) -> nn.Module:
        """The criterion of the distillation."""
        criterion: nn.Module = self.criterion.SeqPeTransferCriterion(
            1.0, "kl_div", num_heads=setting.heads, seqpe_logit_scaled_loss=1.0, seqpe_multi_head_loss=True
        )
        return criterion

    def spelt(self, positions: list[int], setting: Setting) -> tuple[Tensor, Tensor]:
        """(N, digits) digits of N positions, and (N, digits) which of them are padding."""
        strings, padding = self.utilities.PeUtils.prepare_seqpe_data(positions, setting.digits)
        return strings, padding


def load(checkout: Path) -> Published:
    """Imports the modules; once a process.

    Args:
        checkout: the folder that holds `text_seqpe`.
    """
    source = checkout / "text_seqpe" / "src" / "transformers"
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder: the checkout of ghrua/seqpe is to hold it.")
    for package, folder in (("custom_modules", source / "custom_modules"), ("models.gpt2", source / "models/gpt2")):
        _stand_in(package).__path__ = [str(folder)]
    own = {
        name: importlib.import_module(f"{ROOT}.custom_modules.{name}")
        for name in ("activations", "pytorch_utils", "sequential_pe", "pe_sampler", "pe_criterion", "pe_utils")
    }
    _replace_transformers(own["activations"], own["pytorch_utils"].Conv1D)
    gpt2 = importlib.import_module(f"{ROOT}.models.gpt2.modeling_gpt2")
    return Published(gpt2, own["sequential_pe"], own["pe_sampler"], own["pe_criterion"], own["pe_utils"])


def _replace_transformers(activations: ModuleType, convolution: type[nn.Module]) -> None:
    """Puts all that `modeling_gpt2.py` imports into place; what it never calls here is None."""
    sys.modules[f"{ROOT}.activations"] = activations
    _stand_in("generation", GenerationMixin=type("GenerationMixin", (), {}))
    _stand_in("modeling_utils", ALL_ATTENTION_FUNCTIONS={}, PreTrainedModel=_Model, SequenceSummary=None)
    _stand_in("pytorch_utils", Conv1D=convolution, find_pruneable_heads_and_indices=None, prune_conv1d_layer=None)
    _stand_in(
        "modeling_attn_mask_utils",
        _prepare_4d_attention_mask_for_sdpa=None,
        _prepare_4d_causal_attention_mask_for_sdpa=None,
    )
    _stand_in(
        "modeling_outputs",
        BaseModelOutputWithPastAndCrossAttentions=_Output,
        CausalLMOutputWithCrossAttentions=_Output,
        QuestionAnsweringModelOutput=_Output,
        SequenceClassifierOutputWithPast=_Output,
        TokenClassifierOutput=_Output,
    )
    _stand_in(
        "utils",
        ModelOutput=_Output,
        add_code_sample_docstrings=_undecorated,
        add_start_docstrings=_undecorated,
        add_start_docstrings_to_model_forward=_undecorated,
        replace_return_docstrings=_undecorated,
        logging=SimpleNamespace(get_logger=logging.getLogger),
    )
    _stand_in("utils.model_parallel_utils", assert_device_map=None, get_device_map=None)
    _stand_in("models.gpt2.configuration_gpt2", GPT2Config=SimpleNamespace)


def _stand_in(name: str, **values: Any) -> ModuleType:
    """A module of these values, and empty packages around it."""
    parts = (ROOT, *name.split("."))
    for depth in range(1, len(parts)):
        package = sys.modules.setdefault(".".join(parts[:depth]), ModuleType(".".join(parts[:depth])))
        if not hasattr(package, "__path__"):
            package.__path__ = []
    module = sys.modules[f"{ROOT}.{name}"] = ModuleType(f"{ROOT}.{name}")
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
    """What the GPT-2 inherits: its weights drawn by its own `_init_weights`, the last matrix tied to the first."""

    def __init__(self, config: Any, *_: Any, **__: Any) -> None:
        super().__init__()
        self.config = config

    def post_init(self) -> None:
        self.apply(self._init_weights)
        if hasattr(self, "lm_head"):
            self.lm_head.weight = self.transformer.wte.weight

    def get_head_mask(self, _: Any, layers: int) -> list[None]:
        return [None] * layers

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def warn_if_padding_and_no_attention_mask(self, *_: Any, **__: Any) -> None:
        pass
