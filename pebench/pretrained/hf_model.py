"""A causal language model in the format of transformers as a model here, its weights by our names."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pebench.data.tokenization import Tokenizer
from pebench.encoding_config import encoding_config
from pebench.errors import UserError
from pebench.models.host import DecoderOptions
from pebench.plugin_ref import ExtrapolationRef
from pebench.position_encoding import Geometry
from pebench.pretrained.architectures import (
    Architecture,
    architecture_of,
    extrapolation_of,
    refuse_unfollowed,
)
from pebench.pretrained.source import Source, find_source
from pebench.pretrained.tokenizer import tokenizer_folder, tokenizer_of
from pebench.pretrained.weight_names import ours_of
from pebench.spec import PluginConfig
from pebench.torchvision_operators import declare_missing


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
        turning = turning_channels(self.encoding, self.geometry)
        entries = list(self.architecture.entries(self.options, turning))
        wanted = [name for entry in entries for name in entry.theirs]
        with ExitStack() as stack:
            theirs = _Files(self, stack)
            missing = sorted({*wanted} - theirs.keys())
            if missing:
                raise UserError(
                    f"'{self.label}' has no weights '{missing[0]}', which its configuration asks for."
                )
            left = sorted(theirs.keys() - {*wanted})
            if left:
                raise UserError(
                    f"'{self.label}' has weights '{left[0]}', which no model here has a place for."
                )
            return ours_of(entries, theirs)


def hf_model(reference: str) -> HfModel:
    """The published model of a reference; reads no weights but for their fingerprint.

    Raises:
        UserError: it is not there, or is of an architecture, or has a setting, that cannot be followed here.
    """
    return _model(find_source(reference))


@functools.cache
def _model(source: Source) -> HfModel:
    config = _config(source)
    architecture = architecture_of(config, source.label)
    refuse_unfollowed(config, architecture, source.label)
    try:
        options, encoding = architecture.options(config), architecture.encoding(config)
    except UserError as error:
        raise UserError(f"'{source.label}': {error}") from error
    return HfModel(
        source=source,
        config=config,
        architecture=architecture,
        encoding=encoding_config(encoding),
        extrapolation=extrapolation_of(config, source.label),
        options=options,
        geometry=DecoderOptions.model_validate(options).geometry(
            _trained_extent(config, architecture, source.label)
        ),
    )


def turning_channels(encoding: PluginConfig, geometry: Geometry) -> int:
    """Channels of a head that a rotary encoding turns, whose pairs transformers has in another order; none of
    others."""
    rope = next((part for part in encoding.parts if part.name == "rope"), None)
    return 0 if rope is None else round(geometry.head_dim * rope.options["rotated"])


def _config(source: Source) -> Any:
    """Its configuration, with the defaults and the former names that transformers knows."""
    written = source.config()
    transformers = transformers_library()
    try:
        return transformers.AutoConfig.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        kind = written.get("model_type")
        known = f"a model {kind!r}" if kind else "no model that names its 'model_type'"
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise UserError(f"'{source.label}' is {known} that transformers cannot read: {reason}.") from error


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


def _trained_extent(config: Any, architecture: Architecture, label: str) -> int:
    """Positions that it was trained for, with its frequency map if it has one.

    Raises:
        UserError: its configuration does not say it.
    """
    found = getattr(config, architecture.extent, None)
    if not isinstance(found, int) or found < 1:
        raise UserError(
            f"the configuration of '{label}' does not say in {architecture.extent} how many positions it was "
            "trained for."
        )
    return found


class _Files(Mapping[str, Tensor]):
    """All tensors of a model's files by their full names, each read when it is asked for."""

    def __init__(self, model: HfModel, stack: ExitStack) -> None:
        """
        Args:
            model: whose files they are. stack: keeps them open.

        Raises:
            UserError: a file cannot be read.
        """
        kind = model.architecture
        self._places: dict[str, tuple[Any, str]] = {}
        for file in model.source.weights():
            try:
                opened = stack.enter_context(safe_open(file, framework="pt"))
            except (OSError, SafetensorError) as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise UserError(f"{file} cannot be read: {reason}.") from error
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                full = name if name.startswith((kind.prefix, kind.head)) else kind.prefix + name
                # Some write down the tied head as well.
                if not name.endswith(kind.buffers) and not (full == kind.head and model.options["tied"]):
                    self._places[full] = opened, name

    def __getitem__(self, name: str) -> Tensor:
        opened, own = self._places[name]
        tensor: Tensor = opened.get_tensor(own)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
