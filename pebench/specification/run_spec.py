"""The specification of a run: all that decides its result and nothing else. Its hash is the run's name."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pebench.errors import unknown
from pebench.specification.options import Added
from pebench.specification.plugin_ref import ExtrapolationRef

IDENTITY_VERSION = 1
"""Raised when the way identities are computed changes."""


class Frozen(BaseModel):
    """A model that cannot be changed and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Once = AfterValidator(lambda values: tuple({repr(value): value for value in values}.values()))
"""Marks a list in which a value that stands twice counts once, as what it stands for is measured once:
``evaluate: Annotated[tuple[int, ...], Once]``."""


Extrapolations = Annotated[
    Annotated[tuple[ExtrapolationRef, ...], Once] | None, AfterValidator(lambda asked: asked or None)
]
"""Ways past the trained extent that a task is asked to measure; an empty list asks for none in particular, as
none does, and is the same run."""


COMPOSITIONS = ("compose", "layers")
"""Names for several encodings in one model: all of them in every layer, or each in layers of its own. Their
option `parts` lists the encodings."""


class PluginConfig(Frozen):
    """An encoding or a task, with all its options.

    Attributes:
        name: as the registry knows it.
        version: that of its results.
        options: every option, defaults filled in, less each `Added` one at its default.
        label: how tables call it, the name and the options that are not defaults; not part of the identity.
    """

    name: str
    version: int = 1
    options: dict[str, Any] = {}
    label: str = ""

    @property
    def parts(self) -> tuple[PluginConfig, ...]:
        """The plugins of a composition, in order; the plugin itself where it is none."""
        if self.name not in COMPOSITIONS:
            return (self,)
        parts = (
            PluginConfig(**{k: v for k, v in one.items() if k != "times"}) for one in self.options["parts"]
        )
        return tuple(leaf for part in parts for leaf in part.parts)

    @property
    def stem(self) -> str:
        """The names of its parts, each once, for the name of a folder: ``rope-window``."""
        return "-".join(dict.fromkeys(part.name for part in self.parts))


class EncodingTraining(Frozen):
    """How the parameters of the encoding are trained, where that is not how the model's are.

    Attributes:
        learning_rate: the highest, in place of the model's; it warms up and comes down as the model's does.
            It is absolute, as papers give it, so that another rate for the model leaves it where it was.
        weight_decay: on its matrices.
        betas: in place of the model's.
        clip: largest norm of its gradient by itself, 0 for none; the model's `clip` then bounds the rest of
            the gradient alone. Without it one norm, that of the whole gradient, is bounded.
    """

    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[float, float] | None = None
    clip: Annotated[float, Field(ge=0)] | None = None


OBSERVING = ("evaluate_every", "evaluate_at", "keep_weights")
"""Settings of `Training` that look at it, and leave what comes out as it is."""


class Training(Frozen):
    """Optimiser, schedule and budget.

    Attributes:
        steps: updates; none in a run that only evaluates what it starts from.
        batch: examples an update.
        accumulate: parts a batch is computed in, one after another, to save memory.
        optimiser: ``adamw`` (Loshchilov & Hutter 2019), or one of timm's by its name: ``lamb``, ``lion`` …
        learning_rate: the highest.
        schedule: its course after warm-up. A run with ``constant`` or ``warmup-stable-decay``, whose rate
            comes down at the end alone, is the beginning of one with more steps, which goes on from it.
        warmup: updates of linear warm-up.
        decay: updates at the end over which ``warmup-stable-decay`` comes down linearly.
        final: the last learning rate as a share of the highest.
        weight_decay: on weight matrices, not on the encoding, norms, biases or embeddings.
        betas: of the optimiser's moments; the first alone is the momentum of those that have but one.
        clip: largest norm of the gradient, 0 for none.
        encoding: what is different for the parameters of the encoding.
        precision: ``bfloat16`` computes under autocast; weights are float32 always.
        positions: where a training batch stands. ``own`` leaves it to the encoding, which counts from zero or
            shifts as its paper does; ``shifted`` moves the whole window by a random offset; ``randomized``
            takes a sorted random subset of a larger range (Ruoss et al. 2023, https://arxiv.org/abs/2305.16843).
        range: positions an axis that shifted and randomized batches are drawn from, and that the encoding is
            then built for; by default the largest extent of the evaluation.
        extrapolation: the encoding's method that training applies from the start, as fine-tuning with a fixed
            factor does: ``{yarn: {factor: 4}}``. It is then the default of the evaluation too.
        evaluate_every: updates between evaluations during training; the last is always evaluated.
        evaluate_at: the updates to evaluate after, in place of that.
        keep_weights: whether the weights of these moments are kept.
        evaluate_in: ``bfloat16`` evaluates under autocast, as many papers do; losses are of float32 always.
    """

    steps: Annotated[int, Field(ge=0)] = 300
    batch: Annotated[int, Field(ge=1)] = 16
    accumulate: Annotated[int, Field(ge=1)] = 1
    optimiser: Annotated[str, Added()] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["constant", "linear", "cosine", "warmup-stable-decay"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Annotated[int, Field(ge=0), Added()] = 0
    final: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: Annotated[float, Field(ge=0)] = 1.0
    encoding: Annotated[EncodingTraining, Added()] = EncodingTraining()
    precision: Literal["float32", "bfloat16"] = "float32"
    positions: Literal["own", "shifted", "randomized"] = "own"
    range: Annotated[int, Field(ge=1)] | None = None
    extrapolation: Annotated[ExtrapolationRef | None, Added()] = None
    evaluate_every: Annotated[Annotated[int, Field(ge=1)] | None, Added()] = None
    evaluate_at: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Once, Added()] = ()
    keep_weights: Annotated[bool, Added()] = False
    evaluate_in: Annotated[Literal["float32", "bfloat16"], Added()] = "float32"

    @property
    def looks(self) -> tuple[int, ...]:
        """The updates after which the model is evaluated, the last one included; none where nobody asked."""
        if self.evaluate_every is None and not self.evaluate_at:
            return ()
        every = range(self.evaluate_every, self.steps, self.evaluate_every) if self.evaluate_every else ()
        return tuple(sorted({*every, *self.evaluate_at, self.steps}))

    @property
    def steady(self) -> int | None:
        """The update up to which a run of more steps does the same, None where all rates depend on their
        number."""
        if self.schedule == "warmup-stable-decay":
            return self.steps - self.decay
        return self.steps if self.schedule == "constant" else None

    @field_validator("optimiser")
    @classmethod
    def _known_optimiser(cls, name: str) -> str:
        if name == "adamw":
            return name
        from pebench.machine.torchvision_operators import declare_missing

        declare_missing()
        from timm.optim import list_optimizers

        known = [str(known) for known in list_optimizers(exclude_filters=["fused*", "bnb*"])]
        if name not in known:
            raise ValueError(str(unknown("optimiser", name, known)).rstrip("."))
        return name

    @model_validator(mode="after")
    def _schedule_fits(self) -> Training:
        if self.evaluate_every is not None and self.evaluate_at:
            raise ValueError("'evaluate_every' and 'evaluate_at' say the same in two ways: keep one of them")
        late = [step for step in self.evaluate_at if step > self.steps]
        if late:
            raise ValueError(f"'evaluate_at' names update {late[0]}, but there are {self.steps}")
        if self.keep_weights and not self.looks:
            raise ValueError("'keep_weights' needs 'evaluate_every' or 'evaluate_at', which say when")
        if (self.schedule == "warmup-stable-decay") != (self.decay > 0) and self.steps:
            raise ValueError(
                "'decay' says over how many updates 'warmup-stable-decay' comes down, and nothing else"
            )
        if self.steps and self.decay > self.steps - self.warmup:
            both = f"a 'warmup' of {self.warmup} and a 'decay' of {self.decay}"
            raise ValueError(f"{both} do not fit into {self.steps} steps")
        return self

    @model_validator(mode="after")
    def _encoding_has_what_the_optimiser_has(self) -> Training:
        if self.encoding.betas is not None and self.optimiser != "adamw":
            from timm.optim import get_optimizer_info

            if not get_optimizer_info(self.optimiser).has_betas:
                raise ValueError(f"'{self.optimiser}' has no betas that an encoding could have of its own")
        return self


TIMM = "timm:"
"""Beginning of what stands for weights that timm publishes, in place of the id of a run."""

HF = "hf:"
"""Beginning of what stands for a causal language model in the format of transformers, likewise."""

PUBLISHED = (TIMM, HF)


class Start(Frozen):
    """The finished run whose weights a run begins with, or published weights.

    Attributes:
        run: its id, which stands for everything that decided its weights; or ``timm:`` and the name of a
            model; or ``hf:`` and the folder of one, or its name on the hub with the commit.
        group: see `RunSpec.group`.
        label: how tables call it.
        extent: positions an axis that its encoding was built for.
        digest: SHA-256 of the files of a folder, which stands for its weights wherever it lies.
    """

    run: str
    group: str
    label: str
    extent: tuple[int, ...]
    digest: Annotated[str | None, Added()] = None

    @property
    def is_run(self) -> bool:
        """Whether it is a run, which has a folder and may have to be waited for."""
        return not self.run.startswith(PUBLISHED)

    @property
    def identity(self) -> str:
        """What stands for its weights."""
        return self.run if self.digest is None else HF + self.digest


class RunSpec(Frozen):
    """One cell of a sweep, with every default filled in.

    Attributes:
        identity_version: see `IDENTITY_VERSION`.
        encoding, task: what is compared, and on what.
        model: the options of the task's model, defaults filled in.
        train: optimiser and budget.
        seed: of the weights, the data order and every other draw.
        plugins: SHA-256 of each plugin file, by file name; the run folder keeps a copy.
        start: the run whose weights it begins with, None for initial weights.
        packages: SHA-256 of the files of each installed package that the encoding or the task comes from, by
            its name and version; see `pebench.plugins.packages`.
    """

    identity_version: int = IDENTITY_VERSION
    encoding: PluginConfig
    task: PluginConfig
    model: dict[str, Any]
    train: Training
    seed: Annotated[int, Field(ge=0)]
    plugins: dict[str, str] = {}
    start: Annotated[Start | None, Added()] = None
    packages: Annotated[dict[str, str], Added()] = {}

    @property
    def run_id(self) -> str:
        """Name of the run and of its folder: the encoding's name and 10 hexadecimal digits of the
        identity."""
        return f"{self.encoding.stem}-{_digest(self._identity())}"

    @property
    def group(self) -> str:
        """Equal for runs that differ in nothing but the seed."""
        identity = self._identity()
        del identity["seed"]
        if self.start is not None:
            identity["start"] = self.start.group
        return f"{self.encoding.stem}-{_digest(identity)}"

    @property
    def keeps_weights(self) -> bool:
        """Whether its folder holds its weights: not where they are a language model's of transformers as they
        are, which may be large and are read from there again."""
        return self.train.steps > 0 or self.start is None or not self.start.run.startswith(HF)

    @property
    def beginning(self) -> str | None:
        """Equal for runs that do the same as far as each of them is steady, see `Training.steady`; None for
        one that is the beginning of no other."""
        if self.train.steady is None:
            return None
        identity = self._identity()
        for name in ("steps", "evaluate_every", "evaluate_at"):
            identity["train"].pop(name, None)
        return _digest(identity)

    def _identity(self) -> dict[str, Any]:
        identity = _without_additions(self)
        for choice in ("encoding", "task"):
            del identity[choice]["label"]
        if self.start is not None:
            identity["start"] = self.start.identity
        return identity


def _without_additions(model: BaseModel) -> dict[str, Any]:
    """The values of a model and those inside it, less each `Added` one at its default."""
    values = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        added = any(isinstance(mark, Added) for mark in field.metadata)
        if added and value == field.get_default(call_default_factory=True):
            del values[name]
        elif isinstance(value, BaseModel):
            values[name] = _without_additions(value)
    return values


def _digest(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
