"""Finished runs as models of lm-eval: scores agree with our own, batched or not; nothing is cut unasked."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.tasks import TaskManager
from references.plain_decoding import decode_plainly
from specimens.lm_eval_tasks import choice_task, few_tasks, generation_task, rolling_task, write_task
from specimens.trained_runs import trained

import pebench.lm_eval
from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.position_encoding import Extrapolation, tabulate
from pebench.store.run_folder import RunFolder


@pytest.fixture
def offline(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder in which lm-eval's data stays, and whose network is not there."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    few_tasks(monkeypatch)
    # With each result lm-eval keeps a list of all installed packages, which takes pip seconds.
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", str)
    yield place
    # lm-eval's command line gives its logger a handler of the stream that was there.
    logging.getLogger("lm_eval").handlers.clear()


def evaluate(task: Path, run: RunFolder, **given: Any) -> dict[str, Any]:
    """What lm-eval says of one task."""
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    arguments = {"run": run.run_id, "device": "cpu", **given.pop("model_args", {})}
    found = lm_eval.simple_evaluate(
        model="pebench",
        model_args=arguments,
        tasks=[task.stem],
        task_manager=manager,
        bootstrap_iters=0,
        **given,
    )
    assert found is not None
    return dict(found)


def test_a_choice_is_scored_as_the_plain_sum_over_its_tokens(offline: Path) -> None:
    run = trained(offline)
    found = evaluate(choice_task(offline / "tasks"), run)
    loaded = pebench.load(run.run_id, device="cpu")
    model: Any = loaded.model
    assert loaded.task.tokenizer is not None
    for sample in found["samples"]["sheep_choice"]:
        for request, (log, _) in zip(sample["arguments"], sample["filtered_resps"], strict=True):
            context, choice = request
            tokens = torch.from_numpy(loaded.task.tokenizer.encode(context + choice).astype(np.int64))[None]
            extent = 16
            while extent < tokens.shape[1] - 1:
                extent *= 2
            table = tabulate(
                model.encoding, torch.arange(tokens.shape[1] - 1)[None, :, None], Extrapolation((extent,))
            )
            losses = model.losses(model(tokens[:, :-1], table), tokens[:, 1:])[0]
            assert log == pytest.approx(-float(losses[-len(choice) :].sum()), abs=1e-3)
    assert max(len(s["arguments"][0][0]) for s in found["samples"]["sheep_choice"]) > 100


@pytest.mark.parametrize("encoding", ["rope", "fox", "learned"])
def test_batches_change_no_answer(offline: Path, encoding: str) -> None:
    run = trained(offline, encoding)
    tasks = [choice_task(offline / "tasks"), generation_task(offline / "tasks", ["\n"], 12)]
    for task in tasks:
        whole, single = evaluate(task, run), evaluate(task, run, batch_size=1)
        for one, other in zip(*(found["samples"][task.stem] for found in (whole, single)), strict=True):
            if task.stem == "sheep_generation":
                assert one["resps"] == other["resps"]
            else:
                logs = [[log for log, _ in sample["filtered_resps"]] for sample in (one, other)]
                assert logs[0] == pytest.approx(logs[1], abs=1e-4)


def test_rolling_likelihood_of_a_text_is_our_own_perplexity(offline: Path) -> None:
    windows = 12
    options: dict[str, Any] = {
        "protocols": ["non-overlapping"],
        "tokens": 32 * windows,
        "choice": "beginning",
    }
    run = trained(offline, evaluate=[16, 32], **options)
    task: Any = pebench.load(run.run_id, device="cpu").task
    task.prepare()
    text = bytes(task._evaluated.tokens[1 : 32 * windows + 1].astype(np.uint8)).decode()
    result = run.result()
    assert result is not None
    for extent in (16, 32):
        ours = {score.metric: score.value for score in result.scores if score.extent == (extent,)}
        given = {} if extent == 16 else {"model_args": {"max_length": 32}}
        found = evaluate(rolling_task(offline / "tasks", [text]), run, **given)["results"]["sheep_rolling"]
        assert found["bits_per_byte,none"] == pytest.approx(ours["bits-per-byte"], rel=1e-5)
        assert found["byte_perplexity,none"] == pytest.approx(ours["perplexity"], rel=1e-5)


def test_the_last_rolling_window_reaches_back_and_every_token_counts_once(offline: Path) -> None:
    run = trained(offline)
    lm = pebench.lm_eval.RunLM(run.run_id, device="cpu")
    text = "The 5th of 25 sheep looked over its shoulder."
    ((total,), (again,)) = (lm.loglikelihood_rolling([request(text)]) for _ in range(2))
    assert total == again
    tokens = [lm.eot_token_id, *text.encode()]
    wanted = 0.0
    for start, stop, scored in (
        (0, 16, 16),
        (16, 32, 16),
        (len(tokens) - 17, len(tokens) - 1, len(tokens) - 33),
    ):
        block = torch.tensor(tokens[start : stop + 1])[None]
        table = tabulate(lm.model.encoding, torch.arange(16)[None, :, None], Extrapolation((16,)))
        wanted -= float(lm.model.losses(lm.model(block[:, :-1], table), block[:, 1:])[0, -scored:].sum())
    assert total == pytest.approx(wanted, abs=1e-3)
    assert lm.loglikelihood_rolling([request(""), request(text)]) == pytest.approx([0.0, total])


class request:  # reads as what lm-eval calls it
    """A request as lm-eval makes it."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def test_generation_is_greedy_decoding_up_to_the_first_stop_string(offline: Path) -> None:
    run = trained(offline, steps=40)
    lm = pebench.lm_eval.RunLM(run.run_id, device="cpu")
    prompts = ["The 7th of 49", "The 7th of 49 sheep looked over its shoulder and said", ""]
    for prompt in prompts:
        tokens = list(prompt.encode()) or [lm.eot_token_id]
        (free,) = decode_plainly(lm.model, [tokens], lm.reach(len(tokens) + 20), 20)
        (whole,) = lm.generate_until([request(prompt, {"until": [], "max_gen_toks": 20})])
        ended = [token for token in free if token != lm.eot_token_id]
        assert whole == lm._tokenizer.decode(free[: len(ended)])
        stop = whole[7:9]
        (cut,) = lm.generate_until([request(prompt, {"until": [stop, "zzz"], "max_gen_toks": 20})])
        assert cut == whole[: whole.index(stop)]
    with pytest.raises(UserError, match="decodes greedily"):
        lm.generate_until([request("a", {"until": [], "do_sample": True, "temperature": 0.7})])


def test_contexts_are_cut_only_when_asked(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(offline)
    long, end = "sheep " * 20, "looked"
    free = pebench.lm_eval.RunLM(run.run_id, device="cpu")
    cut = pebench.lm_eval.RunLM(run.run_id, device="cpu", max_length=16)
    read: list[int] = []
    for lm in (free, cut):
        lm.model.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    ((whole, _),) = free.loglikelihood([request(long, end)])
    ((short, _),) = cut.loglikelihood([request(long, end)])
    ((tail, _),) = free.loglikelihood([request((long + end)[-17 : -len(end)], end)])
    assert read == [len(long + end) - 1, 16, 16]
    assert short == pytest.approx(tail, abs=1e-4)
    assert whole != pytest.approx(short, abs=1e-4)
    assert len(cut.generate_until([request(long, {"until": [], "max_gen_toks": 4})])[0]) <= 4
    assert max(read[3:]) <= 12
    with pytest.raises(UserError, match=r"a continuation of 20 tokens does not fit into max_length=16"):
        cut.loglikelihood([request("a", "b" * 20)])


@pytest.mark.parametrize("length", [64, 82, 100, 128, 256, 257, 300, 512])
def test_an_answer_takes_no_room_that_its_question_needs(
    offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    lm = pebench.lm_eval.RunLM(trained(offline).run_id, device="cpu", max_length=length)
    question = "The colour of the door is green. Question: what is the colour of the door? Answer:"
    read: list[tuple[int, int]] = []

    def generate(model: object, texts: list[Any], reach: object, limit: int, stop: object) -> list[list[int]]:
        read.extend((len(text), limit) for text in texts)
        return [[] for _ in texts]

    monkeypatch.setattr("pebench.models.lm_eval_model.generate", generate)
    caplog.set_level(logging.WARNING, "pebench.lm-eval")
    lm.generate_until([request(question, {"until": ["\n"]})])
    ((tokens, limit),) = read
    assert tokens + limit <= length
    assert limit >= min(256, length // 8)
    assert tokens == min(len(question), length - limit)
    assert tokens == len(question) or length < len(question) * 8 / 7
    assert ("the beginning of the text is cut" in caplog.text) == (tokens < 82 or limit < 256)


def test_an_answer_that_a_task_wants_longer_than_half_is_refused(offline: Path) -> None:
    lm = pebench.lm_eval.RunLM(trained(offline).run_id, device="cpu", max_length=128)
    for name in ("max_gen_toks", "max_new_tokens"):
        with pytest.raises(UserError, match=r"an answer of 100 tokens.* leaves 28 of max_length=128"):
            lm.generate_until([request("x" * 82, {"until": ["\n"], name: 100})])
        lm.generate_until([request("x" * 20, {"until": ["\n"], name: 100})])
    with pytest.raises(UserError, match="leaves 0 of max_length=128"):
        lm.generate_until([request("x", {"until": ["\n"], "max_gen_toks": 500})])


def test_a_model_that_predicts_nan_scores_nothing(offline: Path) -> None:
    lm = pebench.lm_eval.RunLM(trained(offline).run_id, device="cpu")
    lm.model.token_embedding.weight.data.fill_(math.nan)
    for ask in (
        lambda: lm.loglikelihood([request("sheep", "looked"), request("sheep", "said")]),
        lambda: lm.loglikelihood_rolling([request("sheep")]),
        lambda: lm.generate_until([request("sheep", {"until": [], "max_gen_toks": 4})]),
    ):
        with pytest.raises(UserError, match="the model predicts NaN"):
            ask()


def test_an_extrapolation_is_asked_for_by_name(offline: Path) -> None:
    run = trained(offline, steps=60)
    scores = {
        method: pebench.lm_eval.RunLM(run.run_id, device="cpu", extrapolation=method).loglikelihood(
            [request("sheep " * 20, "looked")]
        )[0][0]
        for method in ("extend", "pi", "yarn")
    }
    assert len({round(score, 4) for score in scores.values()}) == 3
    wide = pebench.lm_eval.RunLM(run.run_id, device="cpu", extrapolation="pi", extent=1024)
    assert wide.loglikelihood([request("sheep " * 20, "looked")])[0][0] != pytest.approx(
        scores["pi"], abs=1e-5
    )


def test_odd_requests_are_answered(offline: Path) -> None:
    lm = pebench.lm_eval.RunLM(trained(offline, tokenizer="bpe-300").run_id, device="cpu")
    found = lm.loglikelihood([request("", "sheep"), request("   ", "sheep"), request("sheep", "")])
    assert all(math.isfinite(log) for log, _ in found)
    assert found[2] == (0.0, True)


def test_answers_are_kept_as_lm_eval_keeps_them(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, task = trained(offline), choice_task(offline / "tasks")
    first = evaluate(task, run, use_cache=str(offline / "answers"))
    monkeypatch.setattr(
        "pebench.models.lm_eval_model.likelihoods", lambda *_, **__: pytest.fail("read again")
    )
    again = evaluate(task, run, use_cache=str(offline / "answers"))
    assert again["results"] == first["results"]


def test_the_command_line_evaluates_a_run(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(offline)
    task = choice_task(offline / "tasks")
    arguments = ["lm-eval", "--run", run.run_id[:9], "--tasks", str(task), "--limit", "4", "--device", "cpu"]
    assert main([*arguments, "--output_path", "scores", "--model_args", "max_length=64"]) == 0
    told = capsys.readouterr().out
    assert "sheep_choice" in told
    assert "acc_norm" in told
    (written,) = Path("scores").rglob("results_*.json")
    assert run.run_id in written.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "x"], "--run ID names the finished run"),
        (["--run", "rpoe", "--tasks", "x"], "unknown run 'rpoe'"),
        (["--run", "rope"], "--tasks names what to evaluate on"),
        (["--run", "rope", "--taks", "x"], "unrecognized arguments: --taks x"),
        (["--run", "rope", "--tasks", "x", "--model", "hf"], "--model is not for 'pebench lm-eval'"),
        (["--run", "rope", "--tasks", "x", "--log_samples"], "--output_path"),
        (["--run", "rope", "--tasks", "x", "--config", "absent.yaml"], "Config file not found"),
        (["--run", "rope", "--tasks", "x", "--include_path", "nowhere"], "there is no folder 'nowhere'"),
        (["--run", "none", "--tasks", "x"], "run 'none-"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence(
    offline: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(offline)
    unfinished = trained(offline, "none")
    (unfinished.path / "result.json").unlink()
    assert main(["lm-eval", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pebench: ")
    assert sentence in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_lenght": 16}, "unknown argument 'max_lenght' of model 'pebench': did you mean 'max_length'"),
        ({"max_length": "long"}, "max_length is a number of tokens"),
        ({"extent": 16, "max_length": 32}, "does not hold max_length=32"),
        ({"extrapolation": "yran"}, "unknown extrapolation 'yran' of this encoding: did you mean 'yarn'"),
        ({"batch_size": "many"}, "batch_size is 'auto' or a number"),
        ({"device": "tpu"}, "'tpu' is no device"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_gets_one_sentence(offline: Path, given: dict[str, Any], sentence: str) -> None:
    run = trained(offline)
    with pytest.raises(UserError, match=sentence):
        pebench.lm_eval.RunLM(run.run_id, **given)


def test_a_model_that_reads_no_text_is_refused(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(offline)
    monkeypatch.setattr("pebench.tasks.language_modeling.LanguageModeling.tokenizer", None)
    with pytest.raises(UserError, match=r"run 'rope-.*' reads no text"):
        pebench.lm_eval.RunLM(run.run_id)
    loaded = pebench.load(run.run_id)
    monkeypatch.setattr(
        "pebench.lm_eval.load_finished", lambda *_: loaded._replace(model=torch.nn.Linear(1, 1))
    )
    with pytest.raises(
        UserError, match=r"run 'rope-.*' is no language model: its task is 'language-modeling'"
    ):
        pebench.lm_eval.RunLM(run.run_id)


def test_data_that_cannot_be_reached_gets_one_sentence(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(offline)
    path = write_task(
        offline / "tasks",
        "far",
        [],
        dataset_path="nobody/nothing",
        dataset_kwargs={},
        output_type="multiple_choice",
    )
    assert main(["lm-eval", "--run", run.run_id, "--tasks", str(path)]) == 2
    assert "nobody/nothing" in capsys.readouterr().err.splitlines()[-1]
