"""How a user says where data come from; what each kind of data takes beside it stands with that kind."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from pebench.specification.run_spec import Frozen


class DataSource(Frozen):
    """Value of the option ``data``. Text alone is the name of data that come along, or a path.

    Attributes:
        built_in: the name of the data that come along.
        name: that name.
        path: a file or a folder.
        dataset: a set that the `datasets` library knows.
        configuration: of the set. revision: commit, tag or branch of it.
        train, validation, test: what each split is, of the set or of files.
    """

    built_in: ClassVar[str]

    name: str | None = None
    path: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    dataset: str | None = None
    configuration: str | None = None
    revision: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value} if value == cls.built_in else {"path": value}
        return value

    @model_serializer(mode="wrap")
    def _as_written(self, fields: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        if self.name or self.path:
            return self.name or str(self.path)
        if self.dataset:
            return {key: value for key, value in fields(self).items() if value is not None}
        return self.splits

    @property
    def known_as(self) -> tuple[str, ...]:
        """The names of data that come along or of a set, without their owner's."""
        names = (self.name, self.dataset, self.configuration)
        return tuple(PurePosixPath(name).name for name in names if name)

    def read_from(self, split: str) -> tuple[str, ...]:
        """The file or folder of a split; nothing for a set."""
        written = (self.path, None if self.dataset else self.splits.get(split))
        return tuple(path for path in written if path)

    @property
    def splits(self) -> dict[str, str]:
        """The splits given explicitly."""
        written = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: value for split, value in written.items() if value is not None}
