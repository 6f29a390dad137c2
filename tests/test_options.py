"""Options are checked as declared; what is wrong is one sentence that names the nearest right answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from pebench.errors import UserError
from pebench.specification.options import changed, label, of_signature, validated
from pebench.specification.run_spec import Frozen

OWNER = "encoding 'example'"


class Window(Frozen):
    """Options inside options."""

    size: Annotated[int, Field(ge=1)] = 8
    shape: Literal["flat", "round"] = "flat"


class Options(Frozen):
    """Every kind of option that an encoding or a task declares."""

    base: Annotated[float, Field(gt=1)] = 10000.0
    learned: bool = False
    window: Window = Window()
    levels: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2)
    note: str | None = None

    @field_validator("note")
    @classmethod
    def _says_something(cls, note: str | None) -> str | None:
        if note == "":
            raise ValueError("a note says something.")
        return note


class Demanding(Frozen):
    """An option without a default."""

    base: float
    window: Window = Window()


def refusal(written: Any, model: type[Frozen] = Options) -> str:
    """The sentence that options are refused with."""
    with pytest.raises(UserError) as caught:
        validated(model, written, OWNER)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"bsae": 3}, "unknown option 'bsae' of encoding 'example': did you mean 'base'?"),
        ({"Learned": True}, "unknown option 'Learned' of encoding 'example': did you mean 'learned'?"),
        (
            {"window": {"sise": 3}},
            "unknown option 'sise' of 'window' of encoding 'example': did you mean 'size'?",
        ),
        ({"base": "big", "bsae": 3}, "unknown option 'bsae' of encoding 'example': did you mean 'base'?"),
        ({"base": "big"}, "encoding 'example', option 'base': input should be a valid number"),
        ({"base": 1}, "encoding 'example', option 'base': input should be greater than 1, not 1."),
        ({"learned": 7}, "encoding 'example', option 'learned': input should be a valid boolean"),
        (
            {"window": {"size": 0}},
            "encoding 'example', option 'window.size': input should be greater than or equal to 1, not 0.",
        ),
        (
            {"window": {"shape": "square"}},
            "encoding 'example', option 'window.shape': input should be 'flat' or 'round', not 'square'.",
        ),
        (
            {"levels": [1, 0]},
            "encoding 'example', option 'levels.1': input should be greater than or equal to 1, not 0.",
        ),
        ({"note": ""}, "encoding 'example', option 'note': a note says something."),
        ([1], "encoding 'example' takes options as 'key: value', not [1]."),
        ("base", "encoding 'example' takes options as 'key: value', not 'base'."),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(written: Any, sentence: str) -> None:
    assert refusal(written).startswith(sentence)


def test_an_option_that_must_be_given_is_named() -> None:
    assert refusal({}, Demanding) == "encoding 'example' needs the option 'base'."


# Other texts and numbers are refused before anything else is said of them.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
whole_numbers = st.integers(-(2**63), 2**63 - 1)
names = st.text(st.characters(categories=["L", "N"]), min_size=1).filter(
    lambda name: name not in Options.model_fields
)


@given(name=names, value=st.none() | whole_numbers | texts)
def test_no_unknown_option_passes(name: str, value: object) -> None:
    told = refusal({name: value, "base": "wrong as well"})
    assert told.startswith(f"unknown option '{name}' of encoding 'example': ")


options = st.builds(
    Options,
    base=st.floats(min_value=1, exclude_min=True, allow_infinity=False),
    learned=st.booleans(),
    window=st.builds(Window, size=st.integers(1, 9), shape=st.sampled_from(["flat", "round"])),
    levels=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    note=st.none() | texts.filter(bool),
)


@given(options)
def test_options_come_back_from_what_is_recorded_of_them(given_options: Options) -> None:
    assert validated(Options, given_options.model_dump(mode="json"), OWNER) == given_options


@given(options)
def test_what_changed_is_all_that_must_be_written(given_options: Options) -> None:
    assert validated(Options, changed(given_options), OWNER) == given_options
    assert all(getattr(given_options, key) != getattr(Options(), key) for key in changed(given_options))


@given(options)
def test_only_the_defaults_go_by_the_bare_name(given_options: Options) -> None:
    assert (label("rope", given_options) == "rope") == (given_options == Options())


def test_a_label_names_the_changes_in_the_order_of_declaration() -> None:
    written = {"note": "it's so", "base": 500, "window": {"shape": "round"}}
    assert label("rope", validated(Options, written, OWNER)) == (
        "rope(base=500.0, window={size: 8, shape: round}, note=its so)"
    )


def test_an_option_that_must_be_given_is_in_the_label() -> None:
    assert label("rope", Demanding(base=2.0)) == "rope(base=2.0)"


class Example:
    """A class whose constructor declares options, as an encoding does."""

    def __init__(
        self, geometry: object, base: Annotated[float, Field(gt=1)] = 2.0, *, kind: Literal["a", "b"] = "a"
    ) -> None: ...


def test_the_options_of_a_class_are_the_arguments_of_its_constructor() -> None:
    model = of_signature(Example)
    assert validated(model, {}, OWNER).model_dump() == {"base": 2.0, "kind": "a"}
    assert validated(model, {"base": 3, "kind": "b"}, OWNER).model_dump() == {"base": 3.0, "kind": "b"}
    for written in ({"geometry": 1}, {"base": 1}, {"kind": "c"}):
        with pytest.raises(UserError):
            validated(model, written, OWNER)


def test_a_class_without_a_constructor_has_no_options() -> None:
    class Plain:
        pass

    with pytest.raises(UserError, match="unknown option 'base' of encoding 'example': there is none"):
        validated(of_signature(Plain), {"base": 1}, OWNER)


def test_options_that_could_not_be_checked_are_refused() -> None:
    class AnyKeyword:
        def __init__(self, geometry: object, **options: object) -> None: ...

    class AnyNumber:
        def __init__(self, geometry: object, *numbers: int) -> None: ...

    class NoType:
        def __init__(self, geometry, base=2): ...  # type: ignore[no-untyped-def]

    with pytest.raises(UserError, match=r"AnyKeyword takes '\*options', so its options cannot be checked"):
        of_signature(AnyKeyword)
    with pytest.raises(UserError, match=r"AnyNumber takes '\*numbers', so its options cannot be checked"):
        of_signature(AnyNumber)
    with pytest.raises(UserError, match="option 'base' of NoType has no type"):
        of_signature(NoType)
