"""Where text comes from: sources, splits, files as they are found in the wild, and data sets."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from references.word_counts import count_words

from pebench.data import files, python_docs
from pebench.data.splits import by_hash, by_name
from pebench.data.text import Corpus, TextSource, load_corpus
from pebench.errors import UserError
from pebench.specification.options import validated
from pebench.specification.run_spec import Frozen


class Options(Frozen):
    data: TextSource


def source(written: Any) -> TextSource:
    return validated(Options, {"data": written}, "task 'reading'").data


def corpus(written: Any) -> Corpus:
    return load_corpus(source(str(written) if isinstance(written, Path) else written))


def texts(corpus: Corpus, split: str) -> list[str]:
    return ["".join(pieces) for pieces in corpus.pieces(split)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEBENCH_CACHE", str(folder))
    return folder


# What a user writes.


@pytest.mark.parametrize(
    "written",
    [
        "python-docs",
        "texts/emma.txt",
        {"train": "a.txt", "validation": "b.txt"},
        {
            "dataset": "wikitext",
            "configuration": "wikitext-103-raw-v1",
            "revision": "abc",
            "column": "text",
            "rows": "lines",
            "streaming": True,
        },
    ],
)
def test_a_source_is_written_out_as_it_was_read(written: Any) -> None:
    assert source(written).model_dump(mode="json") == written


def test_the_defaults_of_a_data_set_are_written_out() -> None:
    written = source({"dataset": "pg19"}).model_dump(mode="json")
    assert written == {"dataset": "pg19", "column": "text", "rows": "documents", "streaming": False}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"datset": "wikitext"}, "did you mean 'dataset'"),
        ({}, "name one source of text"),
        ("", "name one source of text"),
        ({"path": "a", "train": "b"}, "name one source of text"),
        ({"path": "a", "column": "text"}, "'column' can only stand beside a 'dataset'"),
        ({"dataset": "a", "rows": "paragraphs"}, "'documents' or 'lines'"),
        (3, "not 3"),
    ],
)
def test_a_wrong_source_is_refused_in_one_sentence(written: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        source(written)


def test_a_misspelt_path_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("once\n")
    with pytest.raises(UserError, match=r"did you mean '.*novel\.txt'\?"):
        corpus(tmp_path / "novl.txt")
    with pytest.raises(UserError, match="did you mean 'python-docs'"):
        corpus("python-doc")


# One file.


def test_a_file_is_divided_at_line_ends(tmp_path: Path) -> None:
    lines = [f"line {number}\n" for number in range(1000)]
    path = tmp_path / "text.txt"
    path.write_text("".join(lines))
    parts = [texts(corpus(path), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert "".join(part[0] for part in parts) == "".join(lines)
    assert all(part[0].endswith("\n") for part in parts)
    assert [len(part[0].splitlines()) for part in parts] == pytest.approx([900, 50, 50], abs=10)


@given(lines=st.lists(st.text("ab", max_size=30), min_size=1, max_size=12))
def test_the_shares_of_a_file_join_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("shares") / "text.txt"
    path.write_text("\n".join(lines))
    shares = [files.FileShare(path, start, stop) for start, stop in ((0, 90), (90, 95), (95, 100))]
    chunks = [chunk for share in shares for document in share.documents() for chunk in document]
    assert "".join(chunks) == "\n".join(lines)


def test_a_file_too_short_to_divide_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("one line only")
    with pytest.raises(UserError, match=r"split 'validation' of '.*short.txt' is empty"):
        texts(corpus(path), "validation")


def test_byte_order_marks_and_carriage_returns_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\r\n")
    assert texts(corpus({"train": str(path)}), "train") == ["one\ntwo\nthree\n"]


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_compressed_text_is_the_same_text(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    plain, compressed = tmp_path / "a.txt", tmp_path / f"a.txt{suffix}"
    plain.write_bytes("naïve\n".encode())
    compressed.write_bytes(compress("\ufeffnaïve\r\n".encode()))
    one, other = corpus({"train": str(plain)}), corpus({"train": str(compressed)})
    assert texts(other, "train") == ["naïve\n"]
    assert one.fingerprint("train") == other.fingerprint("train")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("latin.txt", "naïve".encode("latin-1"), "latin.txt is not UTF-8 text"),
        ("broken.gz", gzip.compress(b"text " * 100, mtime=0)[:-9], "broken.gz cannot be decompressed"),
        ("fake.gz", b"plain text", "fake.gz cannot be read: Not a gzipped file"),
        ("broken.xz", lzma.compress(b"text " * 100)[:-9], "broken.xz cannot be decompressed"),
        ("books.tar.xz", b"", "books.tar.xz is an archive: unpack it"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        texts(corpus({"train": str(tmp_path / name)}), "train")
    with pytest.raises(UserError, match=sentence):
        corpus({"train": str(tmp_path / name)}).fingerprint("train")


# Folders.


def test_a_folder_is_divided_by_the_names_of_its_files(tmp_path: Path) -> None:
    for name in ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens", "README"):
        (tmp_path / name).write_text(name)
    found = corpus(tmp_path)
    assert {split: texts(found, split) for split in found.parts} == {
        "train": ["wiki.train.tokens"],
        "validation": ["wiki.valid.tokens"],
        "test": ["wiki.test.tokens"],
    }


def test_a_folder_is_divided_by_the_names_of_its_folders(tmp_path: Path) -> None:
    for name in ("train/b.txt", "train/a.txt", "train/.hidden", "dev/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = corpus(tmp_path)
    assert texts(found, "train") == ["train/a.txt", "train/b.txt"]
    assert texts(found, "validation") == ["dev/c.txt"]
    with pytest.raises(UserError, match="has no split 'test': there are 'train' and 'validation'"):
        texts(found, "test")


def test_a_folder_without_such_names_is_divided_by_hash(tmp_path: Path) -> None:
    names = [f"essay-{number}.txt" for number in range(40)]
    for name in names:
        (tmp_path / name).write_text(name)
    found = corpus(tmp_path)
    parts = {split: texts(found, split) for split in found.parts}
    assert [len(part) for part in parts.values()] == [36, 2, 2]
    assert sorted(name for part in parts.values() for name in part) == sorted(names)


def test_a_folder_of_one_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "only.txt").write_text("line\n" * 100)
    folder, file = corpus(tmp_path / "texts"), corpus(tmp_path / "texts" / "only.txt")
    assert texts(folder, "test") == texts(file, "test")
    assert folder.fingerprint("test") == file.fingerprint("test")


def test_a_file_of_one_line_is_cut_behind_spaces(tmp_path: Path) -> None:
    path, words = tmp_path / "text8", [f"word{number}" for number in range(4000)]
    path.write_text(" ".join(words))
    found = corpus(path)
    parts = [texts(found, split)[0] for split in ("train", "validation", "test")]
    assert "".join(parts) == " ".join(words)
    assert [word for part in parts for word in part.split()] == words
    assert [len(part.split()) for part in parts] == pytest.approx([3600, 200, 200], rel=0.1)
    path.write_text("acgt" * 1000)
    assert [len(texts(corpus(path), split)[0]) for split in ("train", "validation", "test")] == [
        3600,
        200,
        200,
    ]


def test_words_inside_of_names_make_no_splits(tmp_path: Path) -> None:
    places = [
        "paris",
        "lyon",
        "nice",
        "zermatt",
        "val-d-isere",
        "aosta",
        "bern",
        "basel",
        "milan",
        "turin",
        "night-train",
        "geneva",
        "chur",
    ]
    for name in places:
        (tmp_path / f"{name}.txt").write_text(f"a guide to {name}\n")
    found = corpus(tmp_path)
    assert sorted(text for split in found.parts for text in texts(found, split)) == sorted(
        f"a guide to {name}\n" for name in places
    )
    assert not found.left_out


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["wiki.train.tokens", "wiki.valid.tokens", "README"], 1),
        (["train/a.txt", "train/b.txt", "dev/c.txt", "notes.txt"], 1),
        (
            [
                "train-00000-of-00002.txt",
                "train-00001-of-00002.txt",
                "validation.txt",
                "LICENSE",
                "meta.json",
            ],
            2,
        ),
        (["Training Set/a.txt", "test set/b.txt", "train/sub/test.txt"], 0),
    ],
)
def test_files_of_no_split_are_counted(tmp_path: Path, names: list[str], others: int) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    said = corpus(tmp_path).left_out
    assert said.startswith(f"{others} of {len(names)} files of '{tmp_path}'") if others else not said


def test_a_folder_most_of_whose_files_would_be_left_out_is_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "paris", "lyon", "nice"):
        (tmp_path / f"{name}.txt").write_text(name)
    with pytest.raises(UserError, match=r"3 of 5 files of .* are left out: .*'lyon.txt'.* name the files"):
        corpus(tmp_path)


def test_links_are_followed_and_do_not_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "shared" / "deep").mkdir(parents=True)
    (tmp_path / "corpus").mkdir()
    for number in range(30):
        (tmp_path / "shared" / "deep" / f"{number}.txt").write_text(f"{number}\n")
    (tmp_path / "corpus" / "own.txt").write_text("own\n")
    (tmp_path / "corpus" / "linked").symlink_to(tmp_path / "shared")
    (tmp_path / "shared" / "back").symlink_to(tmp_path / "corpus")
    (tmp_path / "shared" / "self").symlink_to(tmp_path / "shared")
    found = corpus(tmp_path / "corpus")
    assert sum(len(texts(found, split)) for split in found.parts) == 31
    assert found.left_out.startswith("2 of 33 files")


def test_the_whole_machine_is_no_data() -> None:
    with pytest.raises(UserError, match="'/' is the whole machine"):
        corpus("/")


@pytest.mark.parametrize("name", ["\0", "\ud800"])
def test_a_path_that_is_no_text_is_refused(name: str) -> None:
    for data in (name, {"train": name}):
        with pytest.raises(UserError, match="is no valid text"):
            corpus(data)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "~nobody-of-that-name/x"])
def test_a_path_that_cannot_be_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match="no text file or folder at"):
        corpus(name)
    with pytest.raises(UserError, match="no text file or folder at"):
        corpus({"train": name})


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.csv", "a.parquet", "folder/a.jsonl"])
@pytest.mark.parametrize("divided", [True, False])
def test_a_table_is_no_plain_text(tmp_path: Path, name: str, divided: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    written = str(tmp_path / name.partition("/")[0])
    with pytest.raises(
        UserError, match=r"holds a table and no plain text: write \{dataset: (json|csv|parquet)"
    ):
        corpus(written if divided else {"train": written})


def test_what_the_sentence_about_a_table_says_works(tmp_path: Path) -> None:
    import json

    import datasets

    rows = [{"body": f"row {number}"} for number in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"saved: write \{dataset: .*saved\}"):
        corpus(tmp_path / "saved")
    for source in (
        {"dataset": "json", "files": {"train": str(tmp_path / "a.jsonl")}},
        {"dataset": str(tmp_path / "saved")},
    ):
        found = corpus({**source, "column": "body", "train": "train[:90%]", "validation": "train[90%:]"})
        assert texts(found, "train") == [f"row {number}" for number in range(18)]
        assert texts(found, "validation") == ["row 18", "row 19"]


@pytest.mark.parametrize(("names", "sentence"), [([], "holds no file"), (["a", "b"], "holds 2 files")])
def test_a_folder_that_cannot_be_divided_is_refused(tmp_path: Path, names: list[str], sentence: str) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    with pytest.raises(UserError, match=sentence):
        corpus(folder)


@given(names=st.lists(st.text(min_size=1), min_size=3, max_size=60, unique=True))
def test_hashes_leave_no_split_empty_and_no_name_out(names: list[str]) -> None:
    splits = by_hash(names)
    assert all(splits.values())
    assert sorted(name for part in splits.values() for name in part) == sorted(names)
    reordered = by_hash(names[::-1])
    assert {split: set(part) for split, part in splits.items()} == {
        split: set(part) for split, part in reordered.items()
    }


def test_one_telling_name_alone_makes_no_splits() -> None:
    assert by_name(["test.txt", "a.txt", "b.txt"]) is None
    assert by_name(["contest.txt", "trainspotting.txt", "validity.txt"]) is None


# Fingerprints of files.


def test_a_fingerprint_changes_with_every_change_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    seen = []
    for content in ["one way\n", "another\n"] * 10:
        path.write_text(content)
        seen.append(corpus({"train": str(path)}).fingerprint("train"))
    assert seen == seen[:2] * 10
    assert seen[0] != seen[1]


def test_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RACY", -60.0)
    path = tmp_path / "text.txt"
    path.write_text("some text\n")
    fingerprint = corpus(path).fingerprint("train")

    def reread(path: Path) -> Any:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(files, "_text_stream", reread)
    assert corpus(path).fingerprint("train") == fingerprint
    os.utime(path, (0, 0))
    with pytest.raises(AssertionError, match="read again"):
        corpus(path).fingerprint("train")


def test_a_file_that_changed_a_moment_ago_is_not_taken_as_known(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("some text\n")
    corpus(path).fingerprint("train")
    assert not list(cache.glob("contents/*"))
    monkeypatch.setattr(files, "_RACY", -60.0)
    corpus(path).fingerprint("train")
    assert len(list(cache.glob("contents/*"))) == 1


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_RACY", -60.0)
    (tmp_path / "a.txt").write_text("text\n")
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "a.txt"))
    with pytest.raises(UserError, match="set PEBENCH_CACHE to a folder"):
        corpus(tmp_path / "a.txt").fingerprint("train")


# Words.


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("\n", 1), ("a b", 3), ("a b\n", 3), (" a  b \n\n c \n", 6)]
)
def test_words_are_those_of_wikitext(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize("folder", ["wikitext-2", "wikitext-103"])
def test_word_counts_of_wikitext_are_the_canonical_ones(shared_data: Path, folder: str) -> None:
    found = corpus(shared_data / folder)
    assert [sum(map(count_words, texts(found, split))) for split in ("validation", "test")] == [
        217_646,
        245_569,
    ]


# The documentation inside Python.


def test_python_docs_are_english_without_repetition() -> None:
    found = corpus("python-docs")
    documents = {split: texts(found, split) for split in ("train", "validation", "test")}
    everything = [text for part in documents.values() for text in part]
    sizes = {split: sum(map(len, part)) for split, part in documents.items()}
    assert len(set(everything)) == len(everything) > 400
    assert 1_500_000 < sum(sizes.values()) < 6_000_000
    assert min(sizes["validation"], sizes["test"]) > 40_000
    assert sum(" the " in text for text in everything) > 0.6 * len(everything)
    assert platform.python_version() in found.fingerprint("train")


def test_docstrings_are_read_in_order_and_once(tmp_path: Path) -> None:
    (tmp_path / "package" / "test").mkdir(parents=True)
    (tmp_path / "package" / "test" / "test_a.py").write_text("'A test.'")
    (tmp_path / "b.py").write_text("def f():\n    'The same.'\n")
    (tmp_path / "package" / "a.py").write_text(
        "'A module.'\nclass C:\n  'A class.'\n  if 1:\n    async def f():\n      'A method.'\n"
        "def g(): 'The same.'\n"
    )
    assert python_docs._docstrings(tmp_path) == {
        "b.py": "The same.\n",
        "package/a.py": "A module.\n\nA class.\n\nA method.\n",
    }


# The `datasets` library.


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    rows = [{"text": "one\r\ntwo"}, {"text": ""}, {"text": "three"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "four"}) + "\n")
    return tmp_path


def of_tables(tables: Path, **more: Any) -> Corpus:
    files = {"train": str(tables / "a.jsonl"), "validation": [str(tables / "b.jsonl")]}
    return corpus({"dataset": "json", "files": files, **more})


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_documents(tables: Path, streaming: bool) -> None:
    found = of_tables(tables, streaming=streaming)
    assert texts(found, "train") == ["one\ntwo", "three"]
    assert texts(found, "validation") == ["four"]
    assert found.fingerprint("train") != found.fingerprint("validation")


def test_rows_are_lines_where_asked(tables: Path) -> None:
    assert texts(of_tables(tables, rows="lines"), "train") == ["one\ntwo\n\nthree\n"]


def test_splits_of_a_data_set_can_be_slices(tables: Path) -> None:
    found = of_tables(tables, train="train[:34%]", validation="train[34%:]")
    assert texts(found, "train") == ["one\ntwo"]
    assert texts(found, "validation") == ["three"]


def test_a_table_that_changes_is_read_again(tables: Path) -> None:
    before = of_tables(tables).fingerprint("validation")
    assert texts(of_tables(tables), "validation") == ["four"]
    (tables / "b.jsonl").write_text(json.dumps({"text": "five"}) + "\n")
    assert of_tables(tables).fingerprint("validation") != before
    assert texts(of_tables(tables), "validation") == ["five"]


def test_wikitext_counts_hold_through_the_library(tables: Path, shared_data: Path) -> None:
    plain = tables / "valid.txt"
    plain.write_bytes(lzma.decompress((shared_data / "wikitext-2" / "valid.txt.xz").read_bytes()))
    found = corpus({"dataset": "text", "rows": "lines", "files": {"validation": str(plain)}})
    assert sum(map(count_words, texts(found, "validation"))) == 217_646


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"column": "txt"}, "did you mean 'text'"),
        ({"train": "tran"}, 'Unknown split "tran"'),
        ({"files": {"train": "/nowhere.json"}}, "Unable to find '/nowhere.json'"),
        ({"dataset": "pg19", "files": None}, "neither on this machine nor to be had from the hub"),
    ],
)
def test_a_wrong_data_set_is_one_sentence(tables: Path, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        texts(of_tables(tables, **more), "train")


def test_rows_without_text_are_refused(tables: Path) -> None:
    (tables / "b.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    with pytest.raises(UserError, match="row 1 holds no text in column 'text' but NoneType"):
        texts(of_tables(tables), "validation")


def test_sources_are_described_without_heavy_imports() -> None:
    program = (
        "import sys, pebench.data.tokens; "
        "sys.exit(bool({'torch', 'datasets', 'pandas', 'tokenizers', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
