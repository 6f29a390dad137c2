"""Options from users: checked against what is declared, and refused in one sentence that names the nearest
right one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from pebench.errors import UserError, join_or, shown, unknown
from pebench.notation.numbers_of_json import beyond_numbers
from pebench.notation.unicode import whole

Model = TypeVar("Model", bound=BaseModel)

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Added:
    """Marks a setting that came later: ``clip_own: Annotated[float | None, Added()] = None``.

    At its default, which computes what was computed before there was the setting, the setting is left out of
    the identity, so that the runs from before keep their names.

    Args:
        before: of an option of an encoding, a task or its model: the value that computes what was computed
            before, where that is not the default. Specifications leave the option out at this value, and mean
            it where they lack it.
    """

    def __init__(self, before: Any = None) -> None:
        self.before = before

    def value(self, field: FieldInfo) -> Any:
        """The value that computes what was computed before there was the field."""
        return field.get_default(call_default_factory=True) if self.before is None else self.before


def values_before(model: type[BaseModel]) -> dict[str, Any]:
    """The values that options which came later have in specifications that lack them; see `Added`."""
    return {
        name: _ANY.dump_python(mark.value(field), mode="json")
        for name, field in model.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Added)
    }


def validated(
    model: type[Model], values: Any, owner: str, places: Mapping[str, type[BaseModel]] | None = None
) -> Model:
    """The values as the model they describe.

    Args:
        model: what declares the options; it should refuse unknown keys.
        values: usually a mapping, as read from YAML.
        owner: whose options they are, as the start of a sentence: ``"encoding 'rope'"``.
        places: of a run where an unknown option may belong, as ``model``, and what declares their options.

    Raises:
        UserError: names the first option that is wrong, and what would be right.
    """
    if not isinstance(values, dict):
        raise UserError(f"{owner} takes options as 'key: value', not {shown(values)}.")
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        raise _sentence(error, model, owner, places or {}) from None
    except RecursionError:
        raise UserError(f"{owner}: the options are nested too deep.") from None
    for name in type(found).model_fields:
        _refuse_beyond(getattr(found, name), f"{owner}, option '{name}'")
    return found


def _refuse_beyond(value: Any, owner: str) -> None:
    """Refuses what no JSON holds: numbers that are none or infinite, and text that is no valid Unicode."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, dict):
        for key, each in value.items():
            _refuse_beyond(key, owner)
            _refuse_beyond(each, f"{owner.removesuffix(chr(39))}.{key}'")
    elif isinstance(value, list | tuple):
        for each in value:
            _refuse_beyond(each, owner)
    elif isinstance(value, str):
        if whole(value) != value or "\0" in value:
            raise UserError(f"{owner}: {shown(value)} is no valid text.")
    elif beyond_numbers(value):
        bound = "finite" if isinstance(value, float) else "a whole number of at most 64 bits"
        raise UserError(f"{owner}: input should be {bound}, not {shown(value)}.")


def of_signature(cls: type) -> type[BaseModel]:
    """A model of the keyword arguments of a class's constructor: its options, their types and defaults. The
    first argument, what it is built for, is none.

    Raises:
        UserError: an argument has no annotation, or takes any keyword, so that nothing could be checked; or
            there is no argument at all.
    """
    constructor: Callable[..., None] = getattr(cls, "__init__")  # noqa: B009 - mypy calls the attribute unsound
    hints = get_type_hints(constructor, include_extras=True)
    fields: dict[str, Any] = {}
    parameters = list(inspect.signature(cls).parameters.values())
    if not parameters and constructor is not object.__init__:
        raise UserError(f"{cls.__name__}() takes nothing, and must take the geometry of the model first.")
    for parameter in parameters[1:]:
        if parameter.kind is parameter.VAR_KEYWORD or parameter.kind is parameter.VAR_POSITIONAL:
            raise UserError(f"{cls.__name__} takes '*{parameter.name}', so its options cannot be checked.")
        if parameter.name not in hints:
            raise UserError(f"option '{parameter.name}' of {cls.__name__} has no type.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def specified(options: BaseModel) -> dict[str, Any]:
    """The options as a specification holds them, less those at the value that it means where it lacks them;
    see `Added`."""
    before = values_before(type(options))
    values = options.model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in before or value != before[name]}


def changed(options: BaseModel) -> dict[str, Any]:
    """The options that are not their defaults, in the order of declaration."""
    fields = type(options).model_fields
    values = specified(options)
    defaults = {
        name: None if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in fields.items()
    }
    plain = type(options).model_construct(**defaults).model_dump(mode="json", warnings=False)
    return {
        name: values[name] for name in values if fields[name].is_required() or values[name] != plain[name]
    }


def label(name: str, options: BaseModel) -> str:
    """How tables call a choice: its name, and the options that are not defaults in parentheses."""
    parts = ", ".join(f"{key}={_short(value)}" for key, value in changed(options).items())
    return f"{name}({parts})" if parts else name


def _short(value: Any) -> str:
    return str(value).replace("'", "")


def _sentence(
    error: ValidationError, model: type[BaseModel], owner: str, places: Mapping[str, type[BaseModel]]
) -> UserError:
    details = error.errors(include_url=False)
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    place = [part for part in first["loc"] if isinstance(part, str | int)]
    if first["type"] == "extra_forbidden":
        elsewhere = [at for at, other in places.items() if place[0] in other.model_fields]
        if len(place) == 1 and elsewhere:
            right = join_or(f"{at}.{place[0]}" for at in elsewhere)
            return UserError(f"unknown option '{place[0]}' of {owner}: it is {right}.")
        parent = model_at(model, place[:-1])
        fields = parent.model_fields if parent is not None else {}
        known = [field.alias or name for name, field in fields.items()]
        inside = "".join(f"'{part}' of " for part in reversed(place[:-1]))
        return unknown("option", str(place[-1]), known, f"{inside}{owner}")
    where = ".".join(str(part) for part in place)
    message = first["msg"].removeprefix("Value error, ")
    message = (message[:1].lower() + message[1:].rstrip(".")).replace("a valid tuple", "a list")
    if first["type"] == "missing":
        return UserError(f"{owner} needs the option '{where}'.")
    if not where:
        return UserError(_ended(f"{owner}: {message}"))
    given = "" if first["type"] == "value_error" else f", not {shown(first['input'])}"
    if first["type"] in ("too_short", "too_long"):
        message, given = _count_expected(first), f", not {first['ctx']['actual_length']}"
    return UserError(_ended(f"{owner}, option '{where}': {message}{given}"))


def _count_expected(error: Mapping[str, Any]) -> str:
    bound, way = ("min_length", "least") if error["type"] == "too_short" else ("max_length", "most")
    number = error["ctx"][bound]
    return f"should hold at {way} {number} {'entry' if number == 1 else 'entries'}"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."


def model_at(model: type[BaseModel], place: list[Any]) -> type[BaseModel] | None:
    for part in place:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        # An option that may be left out is the union of a model and None.
        models = [
            each
            for each in (annotation, *get_args(annotation))
            if inspect.isclass(each) and issubclass(each, BaseModel)
        ]
        if len(models) != 1:
            return None
        model = models[0]
    return model
