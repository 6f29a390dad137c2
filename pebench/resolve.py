"""From what a user wrote to the specification of a run: names looked up, defaults filled in, impossible
combinations refused, all before anything is trained or submitted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pebench.encoding_config import (
    build_encoding,
    current_options,
    encoding_class,
    encoding_config,
    extrapolation,
    require_fit,
    same_encoding,
)
from pebench.errors import UserError, unknown
from pebench.models.host import DecoderOptions, Host
from pebench.models.timm_weights import TimmModel
from pebench.models.vision import VisionOptions
from pebench.plugins.named_files import contents
from pebench.plugins.packages import packages
from pebench.plugins.registry import encodings, reason_with_line, tasks
from pebench.position_encoding import Extrapolation, Geometry, PositionEncoding, TableInputs, grid
from pebench.pretrained.hf_model import HfModel
from pebench.pretrained.published import Published, is_published, published_model
from pebench.specification.options import label, specified, validated, values_before
from pebench.specification.plugin_ref import PluginRef, split
from pebench.specification.run_spec import PluginConfig, RunSpec, Start, Training
from pebench.store.run_folder import find_run
from pebench.task import AnyTask

OWN = "own"
"""In place of an encoding: that of the run or of the published model that a run starts from."""


def resolve(
    encoding: PluginRef,
    task: PluginRef,
    *,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    seed: int = 0,
    start: RunSpec | Published | None = None,
) -> RunSpec:
    """The specification of one run.

    Args:
        encoding: see `PluginRef`; or ``own`` for that of the start.
        task: likewise.
        model: options of the task's model. What a language model of transformers settles need not be there.
        train: see `pebench.specification.run_spec.Training`.
        seed: a whole number, not negative.
        start: the run whose weights it is to begin with, or a published model.

    Raises:
        UserError: something in it does not exist or does not go together.
    """
    chosen = encoding_config(_own_encoding(encoding, start))
    task_name, task_options = split(task, "task")
    task_class = tasks.load(task_name)
    places = {"task": task_class.Options, "model": task_class.Model, "train": Training}
    task_values = validated(task_class.Options, task_options, f"task '{task_name}'", places)
    model, train = dict(model or {}), dict(train or {})
    if isinstance(start, HfModel):
        if task_class.Model is not DecoderOptions:
            raise UserError(f"'{start.label}' is a language model, which task '{task_name}' has no use for.")
        model = _with_settled(model, start)
        train = _with_trained_map(train, chosen, start)
    model_values = validated(task_class.Model, model, f"the model of task '{task_name}'", places)
    training = validated(Training, train, "'train'", places)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"a seed is a whole number that is not negative, not {seed!r}.")
    spec = RunSpec(
        encoding=chosen,
        task=PluginConfig(
            name=task_name,
            version=task_class.version,
            options=specified(task_values),
            label=label(task_name, task_values),
        ),
        model=specified(model_values),
        train=training,
        seed=seed,
        plugins={
            file: hashlib.sha256(content).hexdigest() for file, content in contents(chosen, task_name).items()
        },
        start=None if start is None else start_of(start, chosen),
        packages=packages([part.name for part in chosen.parts], task_name),
    )
    if start is None and not training.steps:
        raise UserError(
            "'train.steps' is 0, but without a run to start from there is nothing to evaluate: name one with "
            "'from'."
        )
    if isinstance(start, TimmModel):
        _refuse_other_model(spec, start)
    _refuse_impossible(spec)
    if isinstance(start, RunSpec):
        _refuse_misfit(spec, start)
    return spec


def _own_encoding(encoding: PluginRef, start: RunSpec | Published | None) -> PluginRef:
    """The reference to an encoding with the name of one in place of ``own``.

    Raises:
        UserError: there is no start that has one.
    """
    name, options = split(encoding, "encoding")
    if name != OWN:
        return encoding
    if start is None:
        raise UserError(
            f"the encoding '{OWN}' is that of what a run starts from, and this one starts from nothing."
        )
    own = current_options(start.encoding)
    return {start.encoding.name: {**own, **options}}


def _with_settled(model: dict[str, Any], start: HfModel) -> dict[str, Any]:
    """Options of the model, with those that a published model has.

    Raises:
        UserError: another one is asked for.
    """
    for name, value in model.items():
        if name in start.options and value != start.options[name]:
            raise UserError(
                f"'{start.label}' has a model of {name} {start.options[name]}, and a run that starts from it "
                f"cannot have {value}."
            )
    return model | start.options


def _with_trained_map(train: dict[str, Any], chosen: PluginConfig, start: HfModel) -> dict[str, Any]:
    """Settings of the training, with the frequency map that a published model was trained with unless another
    one, or another encoding, is asked for."""
    if start.extrapolation is None or "extrapolation" in train or not same_encoding(chosen, start.encoding):
        return train
    return train | {"extrapolation": start.extrapolation}


def start_named(runs: Path, name: str) -> RunSpec | Published:
    """What a run is to begin with.

    Args:
        runs: the folder of the runs.
        name: an id, enough of its beginning, ``timm:`` and the name of a model, or ``hf:`` and its folder or
            name.

    Raises:
        UserError: there is no such run, or no such model.
    """
    return published_model(name) if is_published(name) else find_run(runs, name).spec()


def start_of(spec: RunSpec | Published, encoding: PluginConfig) -> Start:
    """A run, or a published model, as the one that another begins with.

    Args:
        spec: of the run to begin with.
        encoding: of the other; where it is another encoding, the label says from which one it is converted.
    """
    if not isinstance(spec, RunSpec):
        label, digest = spec.label, spec.source.digest if isinstance(spec, HfModel) else None
        if not same_encoding(spec.encoding, encoding):
            label = f"{spec.encoding.label} on {label}"
        found = Start(
            run=spec.reference,
            group=spec.reference,
            label=label,
            extent=spec.geometry.extent,
            digest=digest,
        )
        return found.model_copy(update={"group": found.identity})
    label = f"{spec.task.label or spec.task.name} after {spec.train.steps} steps"
    if not same_encoding(spec.encoding, encoding):
        label = f"{spec.encoding.label or spec.encoding.name} on {label}"
    return Start(
        run=spec.run_id,
        group=spec.group,
        label=label,
        extent=encoding_geometry(spec, build_task(spec)).extent,
    )


def build_task(spec: RunSpec) -> AnyTask:
    """The task of a specification; reads no data."""
    task_class = tasks.load(spec.task.name)
    written = values_before(task_class.Options) | spec.task.options
    options = validated(task_class.Options, written, f"task '{spec.task.name}'")
    written = values_before(task_class.Model) | spec.model
    model = validated(task_class.Model, written, f"the model of task '{spec.task.name}'")
    task: AnyTask = task_class(options, model)
    task.trains = spec.train.steps > 0
    return task


def evaluations(encoding: PositionEncoding, task: AnyTask) -> list[Extrapolation]:
    """Every evaluation of an encoding on a task: each extent, and past the trained one by each method asked
    for."""
    trained = encoding.geometry.extent
    found = []
    for extent in task.extents():
        served = task.positions(extent)
        beyond = any(count > size for count, size in zip(served, trained, strict=True))
        ways = _asked_for(encoding, task)
        if not beyond:
            # Within the trained extent only options of its own, such as a fixed factor, make a difference.
            own = encoding.trained_with
            ways = [own, *(way for way in ways if way.method not in (way.name, own.method))]
        found += [way._replace(extent=extent) for way in ways]
    return found


def encoding_of(spec: RunSpec, task: AnyTask) -> PositionEncoding:
    """The encoding of a run with its initial weights, and the method that training applies.

    Raises:
        UserError: it does not go together with the task, or offers no such method.
    """
    geometry = encoding_geometry(spec, task)
    encoding = build_encoding(spec.encoding.name, current_options(spec.encoding), geometry, spec.seed)
    if spec.train.extrapolation is not None:
        asked = extrapolation(type(encoding), spec.train.extrapolation)
        encoding.trained_with = asked._replace(extent=geometry.extent)
    return encoding


def has_parameters(spec: RunSpec) -> bool:
    """Whether the encoding of a run has anything to learn."""
    with torch.device("meta"):
        return next(encoding_of(spec, build_task(spec)).parameters(), None) is not None


def encoding_geometry(spec: RunSpec, task: AnyTask) -> Geometry:
    """Geometry that the encoding of a run is built for: the task's, or the range that its training draws
    from; for a run that only evaluates, what it starts from was built for.

    Raises:
        UserError: the range is smaller than the trained extent, or given where nothing is drawn from it.
    """
    geometry, training = task.geometry(), spec.train
    if not training.steps and spec.start is not None:
        # Nothing is trained, so what was trained is what the weights came with.
        return replace(geometry, extent=spec.start.extent)
    if training.positions == "own":
        if training.range is not None:
            raise UserError("'train.range' goes with 'train.positions' shifted or randomized.")
        return geometry
    largest = max(max(extent) for extent in [geometry.extent, *map(task.positions, task.extents())])
    size = training.range or largest
    if size < max(geometry.extent):
        raise UserError(f"'train.range' {size} is smaller than the trained extent {max(geometry.extent)}.")
    return replace(geometry, extent=(size,) * geometry.axes)


def _asked_for(encoding: PositionEncoding, task: AnyTask) -> list[Extrapolation]:
    """The ways past the trained extent that a task asks for and the encoding offers; else its default."""
    offered = encoding.extrapolations
    wanted = [ref for ref in task.extrapolations() if split(ref, "extrapolation")[0] in offered]
    ways = [extrapolation(type(encoding), ref) for ref in wanted]
    ways.sort(key=lambda way: offered.index(way.name))
    return ways or [encoding.trained_with]


def _refuse_impossible(spec: RunSpec) -> None:
    """Builds the encoding without memory and asks it about every extent."""
    task = build_task(spec)
    name, options = spec.encoding.name, current_options(spec.encoding)
    title = spec.encoding.label or name
    try:
        geometry = encoding_geometry(spec, task)
    except ValueError as error:
        raise UserError(f"task '{spec.task.name}': {reason_with_line(error)}.") from error
    require_fit(encoding_class(name, options), title, geometry, f"task '{spec.task.name}'")
    try:
        task.require_possible(starts=spec.start is not None)
    except UserError as error:
        raise UserError(f"task '{spec.task.name}': {error}") from error
    with torch.device("meta"):
        encoding = encoding_of(spec, task)
    if encoding.fits and not task.holds_out:
        raise UserError(
            f"encoding '{title}' fits numbers to text that is held out, and task '{spec.task.name}' has "
            "none: give it the numbers."
        )
    limit = encoding.limit()
    for extent in [geometry.extent, *map(task.positions, task.extents())]:
        if limit is not None and max(extent) > limit:
            raise UserError(
                f"encoding '{title}' can name {limit} positions an axis, "
                f"but task '{spec.task.name}' asks for {max(extent)}."
            )
    for way in [encoding.trained_with, *evaluations(encoding, task)]:
        if way.options is not None:
            _refuse_misfitting_options(encoding, way)
    for ref in task.extrapolations():
        method, _ = split(ref, "extrapolation")
        if method in encoding.extrapolations:
            extrapolation(type(encoding), ref)
            continue
        facts = map(encodings.literals, encodings.origins())
        known = {method for each in facts for method in each.get("extrapolations", ("extend",))}
        if method not in known:
            raise unknown("extrapolation", method, known)


def _refuse_misfitting_options(encoding: PositionEncoding, way: Extrapolation) -> None:
    """
    Raises:
        UserError: options of an extrapolation do not go together with the sizes of the model.
    """
    nowhere = torch.device("meta")
    positions = grid((1,) * encoding.geometry.axes).to(nowhere)
    for part in encoding.modules():
        if not isinstance(part, PositionEncoding) or part.extrapolation_options(way.name) is None:
            continue
        try:
            part.table(TableInputs(positions, way, nowhere, None))
        except ValueError as error:
            raise UserError(f"extrapolation '{way.name}': {reason_with_line(error)}.") from error
        except NotImplementedError:
            continue  # It, or another part of a composition, reads its weights, which have no values here.


def _refuse_other_model(spec: RunSpec, start: TimmModel) -> None:
    """Refuses a task whose model is not the published one."""
    task = build_task(spec)
    if type(task.model) is not VisionOptions:
        raise UserError(f"'{start.reference}' classifies images, which task '{spec.task.name}' does not.")
    if (task.model.name or "").partition(".")[0] != start.architecture:
        raise UserError(
            f"the weights of '{start.reference}' are those of a model '{start.architecture}', so "
            f"'model.name' must be that, not {task.model.name!r}."
        )
    if not spec.train.steps and not start.classes:
        raise UserError(
            f"'{start.reference}' has no classifier, so that there is nothing to evaluate without training."
        )


def _refuse_misfit(spec: RunSpec, start: RunSpec) -> None:
    """Refuses a start whose weights cannot be those of the run. That of its data shows when they are read."""
    there = encoding_geometry(start, build_task(start))
    here = encoding_geometry(spec, build_task(spec))
    facts = ("width", "heads", "head_dim", "layers", "axes", "causal")
    theirs, ours = ({what: getattr(one, what) for what in facts} for one in (there, here))
    models = build_task(start).model, build_task(spec).model
    if isinstance(models[0], Host) and isinstance(models[1], Host):
        theirs |= models[0].layout(there)._asdict() | {"tied": models[0].tied}
        ours |= models[1].layout(here)._asdict() | {"tied": models[1].tied}
    for what, value in ours.items():
        if theirs.get(what, value) != value:
            raise UserError(
                f"run '{start.run_id}' has a model of {what} {theirs[what]}, and a run that starts from it "
                f"cannot have {value}."
            )
    if not same_encoding(start.encoding, spec.encoding):
        # A conversion: the encoding's parameters are matched by name and shape.
        return
    with torch.device("meta"):
        trained, own = (
            build_encoding(spec.encoding.name, current_options(spec.encoding), geometry)
            for geometry in (there, here)
        )
        refitted = own.refitted(trained.state_dict(), there.extent)
        shapes = [{key: value.shape for key, value in each.items()} for each in (refitted, own.state_dict())]
    if shapes[0] != shapes[1]:
        sizes = ["x".join(str(size) for size in geometry.extent) for geometry in (there, here)]
        raise UserError(
            f"encoding '{spec.encoding.name}' has other weights for {sizes[1]} positions than for the "
            f"{sizes[0]} of run '{start.run_id}', so that one cannot be continued here."
        )
