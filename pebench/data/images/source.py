"""Where pictures come from."""

from __future__ import annotations

from pydantic import model_validator

from pebench.data.files import place_of
from pebench.data.images.digits import digits
from pebench.data.images.folder import folder
from pebench.data.images.hub import check, hub
from pebench.data.images.pictures import PictureCorpus
from pebench.data.source import DataSource
from pebench.errors import join_and


class ImageSource(DataSource):
    """Value of the option ``data``. Text alone is ``digits`` or a folder's path; otherwise one of these.

    - ``{path: P}``: a folder of class folders, with folders for splits around them or not. ``~`` and
      environment variables are filled in: ``$CALTECH``.
    - ``{dataset: NAME}``: a set that the `datasets` library knows, ``imagenet-1k`` or ``cifar100``. Here
      `train`, `validation` and `test` are its splits, slices included, by default those of the same name.

    Attributes:
        name: pictures that need no files.
        path: a folder.
        dataset: name on the hub, or a folder that the library can read.
        configuration: of the data set. revision: commit, tag or branch of it.
        train, validation, test: the data set's names of its splits.
        image, label: its columns, where it has several of the kind.
        streaming: whether rows are read as they come instead of being prepared on disk first. Pictures that
            cannot be read are then met in training.
    """

    built_in = "digits"

    image: str | None = None
    label: str | None = None
    streaming: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> ImageSource:
        if sum(map(bool, (self.name, self.path, self.dataset))) != 1 or self.name not in (None, "digits"):
            raise ValueError("name one source of pictures: 'digits', the path of a folder, or a 'dataset'")
        stray = sorted(self.model_fields_set - {"name", "path", "dataset"})
        if stray and not self.dataset:
            raise ValueError(f"{join_and(stray)} can only stand beside a 'dataset'")
        return self


def find_pictures(source: ImageSource) -> PictureCorpus:
    """The pictures of a source, none of them opened yet.

    Raises:
        UserError: they are not there, or cannot be divided into splits.
    """
    if source.name:
        return digits()
    if source.path:
        return folder(source.path)
    assert source.dataset is not None
    return hub(
        place_of(source.dataset),
        source.configuration,
        source.revision,
        source.splits,
        (source.image, source.label),
        source.streaming,
    )


def check_pictures(source: ImageSource, splits: tuple[str, ...]) -> None:
    """Looks for the pictures of splits, and opens none.

    Raises:
        UserError: a folder, the set, a split or a column is not there, or what is trained on is not apart.
    """
    if source.dataset is None:
        corpus = find_pictures(source)
        for split in splits:
            corpus.split(split)
            if "train" in splits:
                corpus.require_unseen(split)
    else:
        written = [source.splits.get(split, split) for split in splits]
        dataset = place_of(source.dataset)
        check(dataset, source.configuration, source.revision, written, (source.image, source.label))
