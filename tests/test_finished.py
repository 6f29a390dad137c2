"""The model of a finished run is what was evaluated, wherever its data went."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from specimens.trained_runs import trained

import pebench
from pebench.data.tokenizer_file import read_tokenizer
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation
from pebench.running.finished import FinishedRun
from pebench.store.run_folder import find_run


def forget_data(place: Path) -> None:
    """Removes the text and everything that was made of it."""
    shutil.rmtree(place / "cache")
    (place / "text.txt").unlink()


@pytest.mark.parametrize("encoding", ["rope", "seqpe"])
def test_a_loaded_model_scores_as_the_run_did(place: Path, encoding: str) -> None:
    folder = trained(place, encoding)
    loaded = pebench.load(folder.run_id[: len(encoding) + 5], device="cpu")
    assert isinstance(loaded, FinishedRun)
    loaded.task.prepare()
    result = folder.result()
    assert result is not None
    with torch.no_grad():
        scores = loaded.task.evaluate(loaded.model, Extrapolation((32,))).scores
    there = {score.metric: score.value for score in result.scores if score.extent == (32,)}
    assert there == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe-300"])
def test_the_run_folder_suffices(place: Path, tokenizer: str) -> None:
    folder = trained(place, tokenizer=tokenizer)
    before = pebench.load(folder.run_id, device="cpu").task
    before.prepare()
    forget_data(place)
    loaded = pebench.load(folder.run_id, device="cpu")
    assert isinstance(loaded.model, Decoder)
    assert not loaded.model.training
    one, other = loaded.task.tokenizer, before.tokenizer
    assert one is not None
    assert other is not None
    text = "The 7th of 49 sheep said: naïve 🐑<|endoftext|>"
    assert one.encode(text).tolist() == other.encode(text).tolist()
    assert one.decode(one.encode(text)) == text
    assert (one.end_of_text, one.vocabulary_size) == (other.end_of_text, other.vocabulary_size)
    assert one.fingerprint == other.fingerprint


def test_a_run_from_before_tokenizers_were_kept_gets_it_from_the_data(place: Path) -> None:
    folder = trained(place, tokenizer="bpe-300")
    (folder.path / "tokenizer.json").unlink()
    loaded = pebench.load(folder.run_id, device="cpu")
    assert loaded.task.tokenizer is not None
    (place / "text.txt").write_text("The text is about goats.\n\n" * 400)
    shutil.rmtree(place / "cache")
    with pytest.raises(UserError, match="is not the one that it was trained with"):
        pebench.load(folder.run_id, device="cpu")


def test_what_cannot_be_loaded_is_told_in_one_sentence(place: Path) -> None:
    folder = trained(place)
    with pytest.raises(UserError, match="unknown run 'rpoe'"):
        pebench.load("rpoe")
    weights = folder.weights.read_bytes()
    folder.weights.write_bytes(weights[:100])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        pebench.load(folder.run_id)
    folder.weights.unlink()
    with pytest.raises(UserError, match="has no weights"):
        pebench.load(folder.run_id)
    (folder.path / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished; 'pebench status'"):
        pebench.load(folder.run_id)


def test_a_run_that_diverged_has_no_model(place: Path) -> None:
    folder = trained(place)
    result = folder.result()
    assert result is not None
    folder.write_result(result.model_copy(update={"status": "diverged", "diverged_at": 3}))
    with pytest.raises(UserError, match="diverged at step 3"):
        pebench.load(folder.run_id)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"kind": "tokenizers", "definition": {}}'])
def test_a_file_that_is_no_tokenizer_is_told_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no tokenizer"):
        read_tokenizer(path)


def test_of_many_runs_few_are_named(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"rope-{number}").mkdir()
        (tmp_path / f"rope-{number}" / "spec.json").touch()
    with pytest.raises(UserError, match=r"there are 8, among them 'rope-5', '[^']*' and '[^']*'\.$"):
        find_run(tmp_path, "xx-5")


def test_an_empty_name_is_no_beginning_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "rope-1").mkdir()
    (tmp_path / "rope-1" / "spec.json").touch()
    assert find_run(tmp_path, "r").run_id == "rope-1"
    with pytest.raises(UserError, match="unknown run ''"):
        find_run(tmp_path, "")
