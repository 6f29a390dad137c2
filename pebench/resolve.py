"""From what a user wrote to the specification of a run: names looked up, defaults filled in, impossible
combinations refused, all before anything is trained or submitted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pebench.errors import UserError, join_and, unknown
from pebench.options import label, of_signature, validated
from pebench.position_encoding import Geometry, PositionEncoding, Reach
from pebench.randomness import derive
from pebench.registry import encodings, tasks
from pebench.spec import Choice, RunSpec, Start, Training
from pebench.task import AnyTask

Written = str | Mapping[str, Any]
"""A name, or a mapping of one name to its options."""


def resolve(
    encoding: Written,
    task: Written,
    *,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    seed: int = 0,
    start: RunSpec | None = None,
) -> RunSpec:
    """The specification of one run.

    Args:
        encoding: ``"rope"`` or ``{"rope": {"base": 500}}``.
        task: likewise.
        model: options of the task's model.
        train: see `pebench.spec.Training`.
        seed: a whole number, not negative.
        start: the run whose weights it is to begin with.

    Raises:
        UserError: something in it does not exist or does not go together.
    """
    encoding_name, encoding_options = split(encoding, "encoding")
    task_name, task_options = split(task, "task")
    encoding_class, task_class = encodings.load(encoding_name), tasks.load(task_name)
    options = validated(of_signature(encoding_class), encoding_options, f"encoding '{encoding_name}'")
    task_values = validated(task_class.Options, task_options, f"task '{task_name}'")
    model_values = validated(task_class.Model, dict(model or {}), f"the model of task '{task_name}'")
    training = validated(Training, dict(train or {}), "'train'")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"a seed is a whole number that is not negative, not {seed!r}.")
    spec = RunSpec(
        encoding=Choice(
            name=encoding_name,
            version=encoding_class.version,
            options=options.model_dump(mode="json"),
            label=label(encoding_name, options),
        ),
        task=Choice(
            name=task_name,
            version=task_class.version,
            options=task_values.model_dump(mode="json"),
            label=label(task_name, task_values),
        ),
        model=model_values.model_dump(mode="json"),
        train=training,
        seed=seed,
        plugins={
            file: hashlib.sha256(content).hexdigest()
            for file, content in _plugin_contents(encoding_name, task_name).items()
        },
        start=None if start is None else start_of(start),
    )
    if start is None and not training.steps:
        raise UserError(
            "'train.steps' is 0, but without a run to start from there is nothing to evaluate: name one with "
            "'from'."
        )
    _refuse_impossible(spec)
    if start is not None:
        _refuse_misfit(spec, start)
    return spec


def split(written: Written, kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of what was written as ``name`` or ``{name: {option: value}}``.

    Raises:
        UserError: it is neither.
    """
    if isinstance(written, str):
        return written, {}
    if isinstance(written, Mapping) and len(written) == 1:
        name, options = next(iter(written.items()))
        options = {} if options is None else options
        if isinstance(name, str) and isinstance(options, Mapping):
            return name, dict(options)
    raise UserError(f"write the {kind} as 'name' or 'name: {{option: value}}', not {written!r}.")


def start_of(spec: RunSpec) -> Start:
    """A run as what another begins with."""
    return Start(
        run=spec.run_id,
        group=spec.group,
        label=f"{spec.task.label or spec.task.name}, {spec.train.steps} steps",
        extent=encoding_geometry(spec, build_task(spec)).extent,
    )


def build_task(spec: RunSpec) -> AnyTask:
    """The task of a specification; reads no data."""
    task_class = tasks.load(spec.task.name)
    options = validated(task_class.Options, spec.task.options, f"task '{spec.task.name}'")
    model = validated(task_class.Model, spec.model, f"the model of task '{spec.task.name}'")
    task: AnyTask = task_class(options, model)
    task.trains = spec.train.steps > 0
    return task


def build_encoding(
    name: str, options: Mapping[str, Any], geometry: Geometry, seed: int = 0
) -> PositionEncoding:
    """An encoding with weights that depend on the seed alone, not on what was built before.

    Raises:
        UserError: the name or an option is wrong, or the encoding refuses the geometry.
    """
    encoding_class = encodings.load(name)
    values = validated(of_signature(encoding_class), dict(options), f"encoding '{name}'")
    keywords = {key: getattr(values, key) for key in type(values).model_fields}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "encoding", name))
        try:
            encoding: PositionEncoding = encoding_class(geometry, **keywords)
        except ValueError as error:
            raise UserError(f"encoding '{name}': {str(error).rstrip('.')}.") from error
    return encoding


def reaches(encoding: PositionEncoding, task: AnyTask) -> list[Reach]:
    """Every way in which a task evaluates an encoding: each extent, and past the trained one each method
    asked for."""
    trained = encoding.geometry.extent
    found = []
    for extent in task.extents():
        served = task.positions(extent)
        beyond = any(count > size for count, size in zip(served, trained, strict=True))
        methods = encoding.extrapolations[:1] if not beyond else _methods(encoding, task)
        found += [Reach(extent, method) for method in methods]
    return found


def encoding_geometry(spec: RunSpec, task: AnyTask) -> Geometry:
    """What the encoding of a run is built for: the task's geometry, or the range that its training draws
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


def _methods(encoding: PositionEncoding, task: AnyTask) -> tuple[str, ...]:
    wanted = task.extrapolations()
    if not wanted:
        return encoding.extrapolations[:1]
    offered = tuple(method for method in encoding.extrapolations if method in wanted)
    return offered or encoding.extrapolations[:1]


def _refuse_impossible(spec: RunSpec) -> None:
    """Builds the encoding without memory and asks it about every extent."""
    task = build_task(spec)
    name = spec.encoding.name
    encoding_class = encodings.load(name)
    try:
        geometry = encoding_geometry(spec, task)
    except ValueError as error:
        raise UserError(f"task '{spec.task.name}': {str(error).rstrip('.')}.") from error
    if task.axes not in encoding_class.axes:
        raise UserError(
            f"encoding '{name}' serves {_axes(encoding_class.axes)}, but task '{spec.task.name}' has "
            f"{_axes((task.axes,))}: {join_and(able(task.axes, geometry.causal))} can serve it."
        )
    if encoding_class.causal_only and not geometry.causal:
        raise UserError(
            f"encoding '{name}' needs causal attention, which task '{spec.task.name}' does not have: "
            f"{join_and(able(task.axes, geometry.causal))} can serve it."
        )
    with torch.device("meta"):
        encoding = build_encoding(name, spec.encoding.options, geometry)
    limit = encoding.limit()
    for extent in [geometry.extent, *map(task.positions, task.extents())]:
        if limit is not None and max(extent) > limit:
            raise UserError(
                f"encoding '{name}' can name {limit} positions an axis, "
                f"but task '{spec.task.name}' asks for {max(extent)}."
            )
    for method in task.extrapolations():
        known = {m for other in encodings.origins() for m in _extrapolations(other)}
        if method not in known:
            raise unknown("extrapolation", method, known)


def _refuse_misfit(spec: RunSpec, start: RunSpec) -> None:
    """Refuses a start whose weights cannot be those of the run. That of its data shows when they are read."""
    if (start.encoding.name, start.encoding.options) != (spec.encoding.name, spec.encoding.options):
        raise UserError(
            f"run '{start.run_id}' has the encoding '{start.encoding.label}', and a run that starts from it "
            f"cannot have '{spec.encoding.label}'."
        )
    there = encoding_geometry(start, build_task(start))
    here = encoding_geometry(spec, build_task(spec))
    for what in ("width", "heads", "layers", "axes", "causal"):
        one, other = getattr(there, what), getattr(here, what)
        if one != other:
            raise UserError(
                f"run '{start.run_id}' has a model of {what} {one}, and a run that starts from it cannot "
                f"have {other}."
            )
    with torch.device("meta"):
        shapes = [
            {key: value.shape for key, value in encoding.state_dict().items()}
            for encoding in (
                build_encoding(spec.encoding.name, spec.encoding.options, geometry)
                for geometry in (there, here)
            )
        ]
    if shapes[0] != shapes[1]:
        sizes = ["x".join(str(size) for size in geometry.extent) for geometry in (there, here)]
        raise UserError(
            f"encoding '{spec.encoding.name}' has other weights for {sizes[1]} positions than for the "
            f"{sizes[0]} of run '{start.run_id}', so that one cannot be continued here."
        )


def able(axes: int, causal: bool) -> list[str]:
    """The names of the encodings that serve so many axes under this kind of attention."""
    facts = {name: encodings.literals(name) for name in encodings.origins()}
    return [
        name
        for name, known in facts.items()
        if axes in known.get("axes", (1,)) and (causal or not known.get("causal_only", False))
    ]


def _extrapolations(name: str) -> tuple[str, ...]:
    return tuple(encodings.literals(name).get("extrapolations", ("extend",)))


def _axes(axes: tuple[int, ...]) -> str:
    numbers = " or ".join(str(number) for number in axes)
    return f"{numbers} position {'axis' if axes == (1,) else 'axes'}"


def plugin_files(spec: RunSpec) -> dict[str, bytes]:
    """The contents of the plugin files that a specification names, by file name."""
    return _plugin_contents(spec.encoding.name, spec.task.name)


def _plugin_contents(encoding: str, task: str) -> dict[str, bytes]:
    origins = (encodings.origin(encoding), tasks.origin(task))
    return {o.file.name: o.file.read_bytes() for o in origins if o.provider == "file" and o.file is not None}
