"""A causal language model in the format of transformers as a model here, its weights by our names."""

from __future__ import annotations

import functools
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pebench.data.tokenization import Tokenizer
from pebench.encoding_config import build_encoding, encoding_class, encoding_config, extrapolation
from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Geometry
from pebench.pretrained.architecture import Architecture, refuse_unfollowed
from pebench.pretrained.architectures import architecture_of
from pebench.pretrained.rope_parameters import extrapolation_of
from pebench.pretrained.source import Source, find_source
from pebench.pretrained.tokenizer import tokenizer_folder, tokenizer_of
from pebench.pretrained.weight_files import WeightFiles
from pebench.pretrained.weight_names import Entry, ours_of
from pebench.specification.options import validated
from pebench.specification.plugin_ref import ExtrapolationRef
from pebench.specification.run_spec import PluginConfig

_EMBEDDING = "token_embedding.weight"


class HfModel(NamedTuple):
    """A published model, before its weights are read.

    Attributes:
        source: where it lies.
        config: its configuration, as transformers reads it.
        architecture: of transformers.
        encoding: that it has.
        extrapolation: the frequency map that it was trained with; None for plain RoPE and other encodings.
        options: of the model here.
        geometry: of the Transformer, with the extent that it was trained for.
    """

    source: Source
    config: Any
    architecture: Architecture
    encoding: PluginConfig
    extrapolation: ExtrapolationRef | None
    options: dict[str, Any]
    geometry: Geometry

    @property
    def reference(self) -> str:
        """As a user may write it."""
        return self.source.reference

    @property
    def label(self) -> str:
        """How tables call it."""
        return self.source.label

    @property
    def fingerprint(self) -> str:
        """Stands for its weights: the SHA-256 of its files, or the commit."""
        return self.source.digest or self.source.folder.name

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer.

        Raises:
            UserError: it cannot be used here.
        """
        return tokenizer_of(self.source, self.config)

    def tokenizer_folder(self) -> Path:
        """A folder with its tokenizer, as that of a run has it.

        Raises:
            UserError: it cannot be used here.
        """
        return tokenizer_folder(self.source, self.config)

    def weights(self) -> dict[str, Tensor]:
        """Its weights by the names of ours, in float32.

        Raises:
            UserError: they cannot be had, or are not those of its configuration.
        """
        with ExitStack() as stack:
            files, entries = self._files(stack)
            return ours_of(entries, files)

    def check(self) -> None:
        """Looks at the heads of the files of its weights, and at its tokenizer.

        Raises:
            UserError: see `weights` and `tokenizer`.
        """
        with ExitStack() as stack:
            self._files(stack)
        _ = self.tokenizer

    def _files(self, stack: ExitStack) -> tuple[WeightFiles, list[Entry]]:
        turning = turning_channels(self.encoding, self.geometry)
        entries = list(self.architecture.entries(self.options, turning))
        files = WeightFiles(self.source.weights(), self.architecture, self.label, stack)
        files.refuse_others(entries, self.options["tied"], self._shapes())
        if self.options["tied"]:
            (embedding,) = next(entry.theirs for entry in entries if entry.ours == _EMBEDDING)
            files.refuse_other_head(embedding)
        return files, entries

    def _shapes(self) -> dict[str, torch.Size]:
        """Of the tensors that its model here has."""
        host = DecoderOptions.model_validate(self.options)
        with torch.device("meta"):
            encoding = build_encoding(self.encoding.name, self.encoding.options, self.geometry)
            decoder = Decoder(self.geometry, self.config.vocab_size, encoding, host, seed=0)
        return {name: tensor.shape for name, tensor in decoder.state_dict().items()}


def hf_model(reference: str) -> HfModel:
    """The published model of a reference; reads no weights but for their fingerprint, names and sizes.

    Raises:
        UserError: it is not there, or is of an architecture, or has a setting or, in a folder, weights or a
            tokenizer that cannot be followed here. Those of the hub are looked at when they have come.
    """
    return _model(find_source(reference))


@functools.cache
def _model(source: Source) -> HfModel:
    config = _config(source)
    architecture = architecture_of(config, source.label)
    refuse_unfollowed(config, architecture, source.label)
    try:
        options, encoding = architecture.options(config), encoding_config(architecture.encoding(config))
        extent = _trained_extent(config, architecture)
        geometry = validated(DecoderOptions, options, "the model").geometry(extent)
        way = extrapolation_of(config)
        if way is not None:
            extrapolation(encoding_class(encoding.name, encoding.options), way)
        with torch.device("meta"):
            build_encoding(encoding.name, encoding.options, geometry)
    except (UserError, ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"the configuration of '{source.label}' cannot be followed: {reason}.") from error
    found = HfModel(source, config, architecture, encoding, way, options, geometry)
    if source.digest is not None:
        found.check()
    return found


def turning_channels(encoding: PluginConfig, geometry: Geometry) -> int:
    """Channels of a head that a rotary encoding turns, whose pairs transformers has in another order; none of
    others."""
    rope = next((part for part in encoding.parts if part.name == "rope"), None)
    return 0 if rope is None else round(geometry.head_dim * rope.options["rotated"])


def _config(source: Source) -> Any:
    """Its configuration, with the defaults and the former names that transformers knows."""
    kind = source.config().get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"the configuration of '{source.label}' names no 'model_type'.")
    transformers = transformers_library()
    try:
        found = transformers.AutoConfig.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False
        )
        # Where a model is built of it, transformers reads settings beside those of RoPE that it has not yet.
        if getattr(found, "rope_parameters", None):
            found.standardize_rope_params()
        return found
    except Exception as error:  # the library raises what its own and others' checks do
        # What checks the fields of a configuration tells where in its own code it did.
        told = re.sub(r"^(Class v|V)alidation error for .*?: \w+Error: ", "", " ".join(str(error).split()))
        reason = told.partition(". ")[0].strip('".')
        raise UserError(
            f"'{source.label}' is a model {kind!r} that transformers cannot read: {reason}."
        ) from error


def transformers_library() -> Any:
    """The package, which is optional.

    Raises:
        UserError: it is not installed.
    """
    # Its configurations import torchvision.
    declare_missing()
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(
            "models in the format of transformers need that package: pip install 'pebench[hf]'."
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


def _trained_extent(config: Any, architecture: Architecture) -> int:
    """Positions that it was trained for, with its frequency map if it has one.

    Raises:
        UserError: its configuration does not say it.
    """
    found = getattr(config, architecture.extent, None)
    if not isinstance(found, int) or found < 1:
        raise UserError(f"it does not say in {architecture.extent} how many positions it was trained for.")
    return found
