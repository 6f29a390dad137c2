"""Questions on passages: SQuAD's form and HotpotQA's, from files, from the `datasets` library, or a small set
that comes along."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from pebench.data.cache import digest
from pebench.data.dataset import can_be_had, check_split, explained
from pebench.data.files import TextFiles, path_to, place_of, told, walk
from pebench.data.left_out import sentence
from pebench.data.source import DataSource
from pebench.data.splits import SPLITS, by_hash, by_name
from pebench.data.tables import kind_of, refuse_saved
from pebench.errors import UserError, join_and, there_is
from pebench.notation.unicode import whole

_POCKET = Path(__file__).parent / "pocket_questions"


class QuestionSource(DataSource):
    """Value of the option ``data``. Text alone is ``pocket`` or a path; otherwise one of these.

    - ``{path: P}``: a file, divided 90/5/5 by the hashes of its titles; or a folder of files, divided by
      their names (``train-v1.1.json``, ``dev-v1.1.json``). Files may be compressed.
    - ``{train: P, validation: P, test: P}``: a file for each split that there is.
    - ``{dataset: NAME}``: a set that the `datasets` library knows, with the columns of ``rajpurkar/squad`` or
      of ``hotpotqa/hotpot_qa``. Here `train`, `validation` and `test` are its splits, slices included.

    Attributes:
        name: the small set that comes along: invented articles of a paragraph each.
        path: a file or a folder.
        train, validation, test: the questions of each split.
        dataset: name on the hub, or a folder.
        configuration: of the data set, for example ``distractor``.
        revision: commit, tag or branch of the data set.
    """

    built_in = "pocket"

    name: Literal["pocket"] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> QuestionSource:
        ways = [bool(self.name), bool(self.path), bool(self.dataset) or bool(self.splits)]
        if sum(ways) != 1:
            raise ValueError(
                "name one source of questions: 'pocket', a path, a 'dataset', or paths for 'train', "
                "'validation' and 'test'"
            )
        if (self.configuration or self.revision) and not self.dataset:
            raise ValueError("'configuration' and 'revision' can only stand beside a 'dataset'")
        return self


@dataclass(frozen=True)
class Passage:
    """A paragraph of an article."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        name: its id.
        text: the question.
        answers: every answer that counts, at least one.
        gold: numbers of the passages that are needed to answer it, in their order.
        titles: of the articles that may not be put in as distractors.
    """

    name: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    titles: frozenset[str]


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one split.

    Attributes:
        passages: each once. questions: in the order of the files. fingerprint: stands for both.
    """

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    fingerprint: str

    def documents(self) -> Iterator[Iterator[str]]:
        """The text of passages and questions, to train a tokenizer on."""
        for passage in self.passages:
            yield iter([passage.text + "\n"])
        for question in self.questions:
            yield iter([f"{question.text}\n"])


@dataclass(frozen=True)
class QuestionText:
    """A question set as the `Part` of a corpus."""

    questions: QuestionSet

    def fingerprint(self) -> str:
        """That of the set."""
        return self.questions.fingerprint

    def documents(self) -> Iterator[Iterator[str]]:
        """Passages and questions."""
        return self.questions.documents()


@dataclass(frozen=True)
class QuestionFiles:
    """Where questions are.

    Attributes:
        splits: the file of each split, None for those of a data set.
        divided: whether the file is the same for all, which each take their share of.
        left_out: the sentence of files that are none of them; see `pebench.data.left_out`.
    """

    splits: Mapping[str, Path | None]
    divided: bool = False
    left_out: str = ""


def find_questions(source: QuestionSource) -> QuestionFiles:
    """The files of a source.

    Raises:
        UserError: there is no such file.
    """
    if source.dataset:
        return QuestionFiles(dict.fromkeys(SPLITS))
    if source.path is None and source.name is None:
        return QuestionFiles({split: _file(path) for split, path in source.splits.items()})
    path = _POCKET if source.path is None else _existing(source.path)
    if path.is_file():
        return QuestionFiles(dict.fromkeys(SPLITS, path), divided=True)
    walked = walk(path)
    refuse_saved(path, walked.files)
    names = {name: path / name for name in walked.files if kind_of(name) == "json"}
    if not names:
        raise UserError(
            f"the folder '{path}' holds no JSON file of questions; '{{dataset: {path}}}' lets the 'datasets' "
            "library read one of another kind."
        )
    named = by_name(names)
    if named is None:
        raise UserError(
            f"the names of the files in '{path}' do not tell splits apart: name a file each for 'train' and "
            "'validation'."
        )
    for split, found in named.splits.items():
        if len(found) > 1:
            raise UserError(f"'{path}' has several files for '{split}' ({join_and(found)}): name one each.")
    files = {split: names[found[0]] for split, found in named.splits.items()}
    left_out = [name for name in (*walked.files, *walked.strange) if path / name not in files.values()]
    total = len(walked.files) + len(walked.strange)
    return QuestionFiles(files, left_out=sentence(left_out, total, f"'{path}'"))


def check_questions(source: QuestionSource, splits: tuple[str, ...]) -> None:
    """Looks for the questions of splits, and reads none.

    Raises:
        UserError: a file, the set or a split is not there.
    """
    files = find_questions(source).splits
    for split in splits:
        _refuse_no_split(split, files)
    if source.dataset and can_be_had(place := place_of(source.dataset)):
        import datasets

        with explained(source.dataset):
            builder = datasets.load_dataset_builder(place, source.configuration, revision=source.revision)
        for split in splits:
            check_split(source.dataset, builder, source.splits.get(split, split))


def _refuse_no_split(split: str, files: Mapping[str, Path | None]) -> None:
    if split not in files:
        raise UserError(f"the questions have no split '{split}': {there_is(files)}.")


def load_questions(source: QuestionSource, split: str) -> QuestionSet:
    """The questions of a split.

    Raises:
        UserError: there is no such split, it has no question with an answer, or it cannot be read.
    """
    found_files = find_questions(source)
    files = found_files.splits
    _refuse_no_split(split, files)
    path = files[split]
    if path is None:
        owner, rows = f"dataset '{source.dataset}'", _rows_of_dataset(source, split)
    else:
        owner, rows = f"'{path}'", _rows_of_file(path)
    try:
        entries = [entry for row in rows for entry in _entries(row)]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UserError(
            f"{owner} has neither SQuAD's form nor HotpotQA's: {type(error).__name__} {error}."
        ) from error
    if found_files.divided:
        titles = sorted({title for _, titles, *_ in entries for title in titles})
        if len(titles) < len(files):
            raise UserError(
                f"{owner} has {len(titles)} articles, too few to divide: name a file for each split."
            )
        among = set(by_hash(titles)[split])
        entries = [entry for entry in entries if entry[1][0] in among]
    found = _collected(entries)
    if not found.questions:
        raise UserError(f"{owner} has no question with an answer for '{split}'.")
    return found


_Entry = tuple[str, list[str], str, list[str], list[Passage], list[int]]
"""Id, titles (the gold ones first), question, answers, passages, and which of them are gold."""


def _entries(row: Mapping[str, Any]) -> Iterator[_Entry]:
    """The questions of an article in SQuAD's file, of a row of SQuAD's data set, or of one of HotpotQA's."""
    if "paragraphs" in row:
        for paragraph in row["paragraphs"]:
            passage = Passage(row["title"], paragraph["context"])
            for asked in paragraph["qas"]:
                answers = [answer["text"] for answer in asked["answers"]]
                yield str(asked["id"]), [passage.title], asked["question"], answers, [passage], [0]
    elif isinstance(row["context"], str):
        passage = Passage(row["title"], row["context"])
        yield str(row["id"]), [passage.title], row["question"], row["answers"]["text"], [passage], [0]
    else:
        context = row["context"]
        if isinstance(context, Mapping):
            context = list(zip(context["title"], context["sentences"], strict=True))
        facts = row["supporting_facts"]
        needed = set(facts["title"] if isinstance(facts, Mapping) else (title for title, _ in facts))
        passages = [Passage(title, "".join(sentences).strip()) for title, sentences in context]
        gold = [number for number, passage in enumerate(passages) if passage.title in needed]
        titles = [passages[number].title for number in gold]
        titles += [passage.title for passage in passages if passage.title not in needed]
        name = str(row["_id"] if "_id" in row else row["id"])
        yield name, titles, row["question"], [row["answer"]], passages, gold


def _collected(entries: Sequence[_Entry]) -> QuestionSet:
    numbers: dict[Passage, int] = {}
    questions = []
    for name, titles, text, answers, passages, gold in entries:
        places = [numbers.setdefault(passage, len(numbers)) for passage in passages]
        known = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
        # SQuAD 2.0 has questions without an answer; there is nothing to find for them.
        if known and gold:
            needed = tuple(places[number] for number in gold)
            own = frozenset(titles[: len(gold)])
            questions.append(Question(name, " ".join(text.split()), known, needed, own))
    passages_found = tuple(numbers)
    content = [[p.title, p.text] for p in passages_found]
    asked = [[q.name, q.text, *q.answers] for q in questions]
    return QuestionSet(passages_found, tuple(questions), digest([content, asked]))


def _rows_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    text = "".join(chunk for document in TextFiles((path,)).documents() for chunk in document)
    try:
        content = _mended(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"'{path}' is not JSON: {error}.") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f"'{path}' has neither SQuAD's form nor HotpotQA's: it holds no list of articles.")
    yield from rows


def _rows_of_dataset(source: QuestionSource, split: str) -> Iterator[Mapping[str, Any]]:
    import datasets

    assert source.dataset is not None
    with explained(source.dataset):
        rows = datasets.load_dataset(
            place_of(source.dataset),
            source.configuration,
            split=source.splits.get(split, split),
            revision=source.revision,
        )
    yield from rows


def _mended(value: Any) -> Any:
    """A value of JSON, with U+FFFD for halves of pairs of surrogates in its texts."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {key: _mended(each) for key, each in value.items()}
    return value


def _file(written: str) -> Path:
    path = _existing(written)
    if path.is_dir():
        raise UserError(f"'{path}' is a folder, and the questions of a split are one file: name that.")
    return path


def _existing(written: str) -> Path:
    path = path_to(written)
    if path is None:
        raise UserError(f"no file or folder of questions at {told(written)}.")
    if path.is_file() and kind_of(path.name) not in (None, "json"):
        raise UserError(
            f"'{path}' is no JSON file: '{{dataset: {path.parent}}}' lets the 'datasets' library read it."
        )
    return path
