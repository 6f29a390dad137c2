"""Tasks for lm-eval over files that tests write: it needs no network for them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks._index import TaskIndex


def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets lm-eval look through twenty of its own tasks: to know them all it parses 14,000 files."""
    files = TaskIndex._iter_yaml_files
    few = staticmethod(lambda folder: islice(files(folder), 20))
    monkeypatch.setattr(TaskIndex, "_iter_yaml_files", few)


def write_task(folder: Path, name: str, documents: list[dict[str, Any]], **config: Any) -> Path:
    """A task over documents, as a YAML file in the folder and a file of JSON lines beside it."""
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")
    written = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        **config,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False), "utf-8")
    return path


def choice_task(folder: Path) -> Path:
    """Multiple choice with contexts of several lengths, one of them longer than anything trained on."""
    documents = [
        {"question": ("sheep " * (1 + 8 * (n % 3)) + f"the {n}th"), "answer": n % 3} for n in range(9)
    ]
    return write_task(
        folder,
        "sheep_choice",
        documents,
        output_type="multiple_choice",
        doc_to_text="{{question}}",
        doc_to_choice=["looked over its shoulder", "said", "xyzzy plugh"],
        doc_to_target="answer",
        metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
    )


def rolling_task(folder: Path, texts: list[str]) -> Path:
    """Perplexity of texts."""
    return write_task(
        folder,
        "sheep_rolling",
        [{"text": text} for text in texts],
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": name} for name in ("bits_per_byte", "byte_perplexity", "word_perplexity")],
    )


def generation_task(folder: Path, until: list[str], limit: int) -> Path:
    """Exact match of what greedy decoding adds."""
    return write_task(
        folder,
        "sheep_generation",
        [{"prompt": f"The {n}th of " * (1 + n % 3), "answer": "x"} for n in range(6)],
        output_type="generate_until",
        doc_to_text="{{prompt}}",
        doc_to_target="answer",
        generation_kwargs={"until": until, "max_gen_toks": limit, "do_sample": False},
        metric_list=[{"metric": "exact_match"}],
    )
