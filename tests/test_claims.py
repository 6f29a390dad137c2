"""Claims about a sweep: read with nearest right answers, answered as their definitions say."""

from __future__ import annotations

import csv
import io
import math
import re
import tarfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from scipy import stats
from specimens.run_folders import Scores, begin, finish, record_sweep, specification
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.leaderboard import claims
from pebench.leaderboard.answers import Answer, answer
from pebench.leaderboard.board import make_board
from pebench.leaderboard.claims import claims_of, read_claims
from pebench.leaderboard.collect import collect
from pebench.leaderboard.files import answers_frame, csv_text, frames
from pebench.leaderboard.markdown import claims_markdown, markdown
from pebench.leaderboard.paired_test import holm
from pebench.leaderboard.read_results import from_results, known_to_runs_alone
from pebench.leaderboard.run_data import MISSING, from_folders
from pebench.leaderboard.sources import from_runs
from pebench.resolve import build_task
from pebench.store.example_scores import Examples, Ratio
from pebench.store.sweep_records import write_sweep
from pebench.store.tuned_choices import submitted_sweeps

RESULTS = Path(__file__).resolve().parents[1] / "results"

BITS = {
    "rope": {128: (2.50, 2.51, 2.49), 512: (3.40, 3.55, 3.45)},
    "alibi": {128: (2.52, 2.532, 2.51), 512: (2.521, 2.528, 2.512)},
    "none": {128: (2.90, 2.91, 2.93), 512: (2.95, 3.05, 2.99)},
}


def made(runs: Path, bits: Mapping[str, Mapping[int, Sequence[float]]] = BITS) -> None:
    specs = []
    for name, by_extent in bits.items():
        for seed in range(len(next(iter(by_extent.values())))):
            spec = specification(name, seed)
            scores: Scores = {("bits-per-byte", e, "extend"): own[seed] for e, own in by_extent.items()}
            finish(begin(runs, spec), scores)
            specs.append(spec)
    record_sweep(runs, specs)


def answered(tmp_path: Path, text: str) -> list[Answer]:
    (tmp_path / "claims.yaml").write_text(text, "utf-8")
    (collection,) = from_runs(tmp_path / "runs", ["quickstart"])
    return answer(collection, read_claims(tmp_path / "claims.yaml"))


@pytest.fixture
def place_of_runs(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    made(tmp_path / "runs")
    return tmp_path


def test_better_is_the_paired_test_against_the_bound(place_of_runs: Path) -> None:
    (one,) = answered(place_of_runs, "- {claim: ALiBi wins, better: alibi, than: rope, at: 512, by: 0.5}\n")
    differences = [r - a for r, a in zip(BITS["rope"][512], BITS["alibi"][512], strict=True)]
    holds = stats.ttest_1samp(differences, 0.5, alternative="greater").pvalue
    assert one.p_holds == pytest.approx(holds)
    assert one.p == pytest.approx(2 * holds)
    assert one.outcome == "shown"
    assert one.needed == ""
    assert one.basis == "seeds"


def test_what_a_paper_reports_stands_beside_the_answer(place_of_runs: Path) -> None:
    text = "- {claim: a, better: alibi, than: rope, at: 512}\n- {claim: b, worst: rope, at: 512}\n"
    plain = answered(place_of_runs, text)
    assert "published" not in claims_markdown("sweep", plain)
    told = answered(place_of_runs, text.replace("at: 512}", "at: 512, published: '18.4 at 247 M'}", 1))
    assert [(one.outcome, one.p_holm) for one in told] == [(one.outcome, one.p_holm) for one in plain]
    heading, _, *rows = [
        cells(line) for line in claims_markdown("sweep", told).splitlines() if line[:1] == "|"
    ]
    assert [heading[-1], *(row[-1] for row in rows)] == ["published", "18.4 at 247 M", ""]
    assert set(answers_frame(told)["published"]) == {"18.4 at 247 M", ""}


def test_each_kind_of_claim_can_be_shown_refuted_and_neither(place_of_runs: Path) -> None:
    found = answered(
        place_of_runs,
        """
- {claim: a, better: alibi, than: [rope, none], at: beyond}
- {claim: b, better: rope, than: alibi, at: 512}
- {claim: c, better: rope, than: alibi, at: [trained, 512]}
- {claim: d, flat: alibi, from: trained, to: beyond, within: 0.05}
- {claim: e, flat: rope, from: trained, to: 512, within: 0.05}
- {claim: f, explodes: rope, from: trained, to: 512, by: 0.5}
- {claim: g, explodes: none, from: trained, to: 512, by: 1}
- {claim: h, equal: [alibi, rope], at: trained, within: 0.05}
- {claim: i, worst: none, at: trained}
- {claim: j, best: alibi, at: beyond}
- {claim: k, explodes: none, from: trained, to: 512, by: 0.05}
- {claim: l, equal: [none, {row: alibi, at: 128}], at: 512, within: 0.1}
""",
    )
    outcomes = {one.claim.claim: one.outcome for one in found}
    assert outcomes == {
        "a": "shown",
        "b": "refuted",
        "c": "refuted",
        "d": "shown",
        "e": "refuted",
        "f": "shown",
        "g": "refuted",
        "h": "shown",
        "i": "shown",
        "j": "shown",
        "k": "not shown",
        "l": "refuted",
    }
    by_name = {one.claim.claim: one for one in found}
    assert len(by_name["a"].parts) == 2
    assert by_name["c"].decisive.what == "rope against alibi at 512"
    assert by_name["l"].parts[0].what == "none at 512 against alibi at 128"


def test_the_correction_is_over_all_claims(place_of_runs: Path) -> None:
    one = "- {claim: a, better: alibi, than: rope, at: 512}\n"
    (alone,) = answered(place_of_runs, one)
    several = answered(place_of_runs, one + one.replace("alibi", "none") + one.replace("rope", "none"))
    assert several[0].p == alone.p == alone.p_holm
    corrected = holm([one.p for one in several])
    assert [one.p_holm for one in several] == pytest.approx(corrected.tolist())
    assert several[0].p_holm > alone.p


def test_what_is_not_shown_says_what_would_be_needed(place_of_runs: Path) -> None:
    near, other, same = answered(
        place_of_runs,
        """
- {claim: near, better: none, than: rope, at: 512, by: 0.43}
- {claim: other, better: none, than: rope, at: trained}
- {claim: constant, better: {row: rope, at: 128}, than: rope, at: 128}
""",
    )
    assert near.needed.endswith("seeds, if the differences are what was seen")
    assert int(near.needed.split()[0]) > 3
    assert other.outcome == "refuted"
    assert same.needed == "the two are the same runs, of which nothing is tested"
    assert math.isnan(same.p)
    assert same.outcome == "not shown"


def test_a_part_that_fails_refutes_a_claim_whose_other_part_cannot_be_tested(place_of_runs: Path) -> None:
    (one,) = answered(
        place_of_runs, "- {claim: a, better: rope, than: [alibi, {row: rope, at: 512}], at: 512}\n"
    )
    assert one.outcome == "refuted"
    assert one.decisive.what == "rope against alibi at 512"


def test_one_seed_shows_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    made(tmp_path / "runs", {name: {128: own[128][:1], 512: own[512][:1]} for name, own in BITS.items()})
    (one,) = answered(tmp_path, "- {claim: a, better: alibi, than: rope, at: 512}\n")
    assert one.outcome == "not shown"
    assert one.needed == "2 seeds at the least: one says nothing about chance"


@pytest.mark.parametrize(
    "claim", ["better: rope, than: t5, at: beyond", 'flat: "t5, extend", from: 128, to: 512, within: 1']
)
def test_a_row_that_has_no_score_yet_stops_no_other_claim(tmp_path: Path, claim: str) -> None:
    (tmp_path / "runs").mkdir()
    made(tmp_path / "runs")
    (record,) = submitted_sweeps(tmp_path / "runs")
    late = specification("t5", 0)
    begin(tmp_path / "runs", late)
    write_sweep(tmp_path / "runs", record.model_copy(update={"runs": (*record.runs, late.run_id)}))
    early, other = answered(
        tmp_path, f"- {{claim: a, {claim}}}\n- {{claim: b, better: alibi, than: rope, at: 512}}\n"
    )
    assert (early.outcome, other.outcome) == ("not shown", "shown")
    assert early.needed in ("a score of t5, which has none yet", "a score of t5, extend, which has none yet")
    assert other.p_holm == other.p, "what cannot be tested corrects nothing"


@pytest.mark.parametrize(
    ("counts", "basis"),
    [({"tokens": 40, "documents": 5}, "seeds and text"), ({"images": 5}, "seeds and examples")],
    ids=["text", "pictures"],
)
def test_examples_are_a_part_of_the_uncertainty_where_they_are_known(
    place_of_runs: Path, counts: dict[str, int], basis: str
) -> None:
    runs = place_of_runs / "runs"
    text = "- {claim: a, better: alibi, than: rope, at: 512}\n"
    (alone,) = answered(place_of_runs, text)
    (collection,) = from_runs(runs, ["quickstart"])
    for run in collection.runs:
        folder = begin(runs, run.spec, [])
        spread = {"rope": (0.9, -0.7, 0.4, -0.6, 0.0), "alibi": (0.1, 0.0, 0.0, 0.0, -0.1)}
        if run.encoding in spread:
            score = run.scores["bits-per-byte", (512,), "extend"]
            values = tuple(score * math.log(2) * 8 + each for each in spread[run.encoding])
            own = Examples(
                ratios=(Ratio(metric="bits-per-byte", over="nats", under="bytes", form="bits"),),
                units=("document",),
                columns={"document": (0, 1, 2, 3, 4), "bytes": (8,) * 5, "nats": values},
                counts=counts,
                extent=(512,),
                extrapolation="extend",
            )
            folder.write_examples([own])
    (both,) = answered(place_of_runs, text)
    assert (alone.basis, both.basis) == ("seeds", basis)
    (collection,) = from_runs(runs, ["quickstart"])
    rows = frames(make_board(collection))["leaderboard.csv"]
    assert basis in set(rows["uncertainty"])
    first, second = alone.decisive.difference, both.decisive.difference
    assert first is not None
    assert second is not None
    assert second.mean == pytest.approx(first.mean)
    assert second.by_seed == pytest.approx(first.by_seed)
    assert second.half_width > first.half_width
    assert 0 < second.text_share < 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- {claim: a, better: alibbi, than: rope, at: 512}", "unknown row 'alibbi'.*did you mean 'alibi'"),
        ("- {claim: a, better: alibi, then: rope, at: 512}", "unknown option 'then'.*did you mean 'than'"),
        ("- {claim: a, beter: alibi, than: rope, at: 512}", "unknown option 'beter'.*did you mean 'better'"),
        ("- {claim: a, flat: alibi, form: 128, to: 512, within: 1}", "unknown option 'form'.*'from'"),
        ("- {claim: a, better: alibi, than: rope, at: 511}", "unknown extent '511'.*did you mean '512'"),
        ("- {claim: a, better: alibi, than: rope, at: behind}", "unknown extent 'behind'.*'beyond'"),
        ("- {claim: a, better: alibi, than: rope, at: 512, metric: bits-per-bite}", "mean 'bits-per-byte'"),
        ("- {claim: a, better: alibi, than: rope, at: 512, protocol: slidding}", "'sliding'"),
        ("- {claim: a, better: alibi, than: rope, at: 512, protocol: sliding}", "was not measured by"),
        ("- {claim: a, better: alibi, than: rope, at: 512, task: retrieval}", "unknown task 'retrieval'"),
        ("- {claim: a, better: alibi, at: 512}", "'better' needs 'than' beside it"),
        ("- {claim: a, better: alibi, than: rope, at: 512, within: 1}", "'within' says nothing beside"),
        ("- {claim: a, at: 512}", "a claim has one of 'better'"),
        ("- {better: alibi, than: rope, at: 512}", "needs the option 'claim'"),
        ("- {claim: a, flat: alibi, from: 128, to: 512, within: -1}", "option 'within'"),
        ("claim: a", "must hold a list of claims"),
        ("- {claim: a, better: alibi, than: rope, at: 512", "line 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence_with_the_nearest_right_answer(
    place_of_runs: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        answered(place_of_runs, text + "\n")
    arguments = ["--runs", str(place_of_runs / "runs"), "--claims", str(place_of_runs / "claims.yaml")]
    assert main(["claims", "quickstart", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert not said.out


@pytest.mark.usefixtures("without_pictures")
def test_the_leaderboard_answers_the_claims_in_its_folder_and_in_the_report(
    place_of_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place_of_runs)
    folder = Path("results/quickstart")
    folder.mkdir(parents=True)
    (folder / "claims.yaml").write_text(
        "- {claim: ALiBi is flat, flat: alibi, from: 128, to: 512, within: 0.1}\n"
    )
    assert main(["leaderboard"]) == 0
    assert "shown: ALiBi is flat" in " ".join(capsys.readouterr().out.split())
    assert "| ALiBi is flat" in (folder / "leaderboard.md").read_text()
    assert "ALiBi is flat" in (folder / "report.html").read_text()
    (row,) = csv.DictReader(io.StringIO((folder / "claims.csv").read_text()))
    assert "| ALiBi is flat" in (folder / "claims.md").read_text()
    assert (row["answer"], row["uncertainty"], row["seeds"]) == ("shown", "seeds", "3")
    # The same from the files, without a run.
    found = answer(from_results(folder), claims_of("quickstart", [folder]))
    assert found[0].outcome == "shown"
    assert found[0].p == pytest.approx(float(row["p"]), rel=1e-3)
    (folder / "claims.yaml").unlink()
    assert main(["leaderboard"]) == 0
    assert not list(folder.glob("claims.*"))
    assert main(["claims", "quickstart"]) == 2
    assert "there are no claims about 'quickstart'" in capsys.readouterr().err


@pytest.mark.parametrize("sweep", [path.parent.name for path in RESULTS.glob("*/scores.csv")])
def test_results_are_read_back_as_the_runs_that_they_name(sweep: str) -> None:
    collection = from_results(RESULTS / sweep)
    assert all(run.spec.run_id == run.run_id for run in collection.runs)
    assert {run.status for run in collection.runs} <= {"done", MISSING}
    assert {group.trained for group in collection.groups.values()} != {None}
    # What names no choice was evaluated on the beginning of its split, and is so again where it goes on.
    for run in collection.runs:
        said = run.spec.task.options.get("choice", "beginning")
        options = build_task(run.spec).options
        assert getattr(options, "choice", said) == said


WITH_SCORES = [
    path.parent.name for path in RESULTS.glob("*/scores.csv") if (path.parent / "claims.yaml").exists()
]
"""Sweeps whose claims have scores to be answered from; those of others are only written down."""


def committed(sweep: str) -> list[dict[str, str]]:
    """The rows of the committed answers to the claims about a sweep."""
    return list(csv.DictReader(io.StringIO((RESULTS / sweep / "claims.csv").read_text("utf-8"))))


@pytest.mark.parametrize("sweep", WITH_SCORES)
def test_the_committed_answers_are_to_the_committed_claims_and_scores(
    sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = committed(sweep)
    written = [claim.claim for claim in read_claims(RESULTS / sweep / "claims.yaml")]
    assert list(dict.fromkeys(row["claim"] for row in rows)) == written
    if {row["uncertainty"] for row in rows} != {"seeds"} or sweep in MADE_ANEW[1:]:
        # Scores by document are with the runs, and not among the committed files. The others are answered
        # where the tables are made of their scores, and one of them here, as a user has it done.
        return
    folder = tmp_path / sweep
    folder.mkdir()
    for path in (RESULTS / sweep).glob("*.*"):
        if path.suffix in (".csv", ".yaml"):
            (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["claims", sweep, "--results", str(tmp_path), "--runs", "nowhere", "--write"]) == 0
    for name in ("claims.md", "claims.csv"):
        assert (folder / name).read_text() == (RESULTS / sweep / name).read_text()


def statements() -> list[tuple[str, str, str]]:
    """The rows of the tables of claims of the results' page, a heading a sweep: claim, answer and sweep."""
    text = (RESULTS / "README.md").read_text("utf-8")
    _, _, section = text.partition("\n## What is claimed")
    found = []
    # To the end of the page, so that a table under another heading is seen as well.
    for part in re.split(r"^##+ ", section, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        rows = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")]
        found += [(claim, said.strip("* "), heading.strip("`")) for claim, said in rows[1:]]
    return found


@pytest.mark.parametrize("sweep", [path.parent.name for path in RESULTS.glob("*/claims.yaml")])
def test_claims_are_well_formed_before_there_is_an_answer(sweep: str) -> None:
    assert read_claims(RESULTS / sweep / "claims.yaml")


def test_every_statement_about_the_results_is_an_entry_of_claims() -> None:
    answers = {(row["claim"], sweep): row["answer"] for sweep in WITH_SCORES for row in committed(sweep)}
    stated = {(claim, where): said for claim, said, where in statements()}
    assert stated == answers


PAGES = {name: RESULTS.parent / name for name in ("README.md", "results/README.md")}
ABOUT_RESULTS = {
    "README.md": ("## Quickstart", "## Three commands"),
    "results/README.md": ("## What is claimed", r"\Z"),
}
"""The parts of the pages that are about what came out."""


def about_results(page: str) -> str:
    text = PAGES[page].read_text("utf-8")
    begin, end = ABOUT_RESULTS[page]
    return re.split(end, text.partition(f"\n{begin}")[2])[0]


ANSWERED = re.compile(
    r"^- \**(shown|refuted|not shown)\** \(\[([\w-]+)\]\(results/\2/claims\.md\)\): (.*)$", re.MULTILINE
)


def test_what_the_front_page_says_of_results_are_answers_to_claims() -> None:
    found = ANSWERED.findall(about_results("README.md"))
    assert len(found) > 5
    for said, sweep, claim in found:
        answers = {row["claim"]: row["answer"] for row in committed(sweep)}
        assert answers.get(claim) == said, claim


VERDICT = re.compile(
    r"\b(ahead|behind|better|worse|best|worst|first|last|flat|fades?|rises?|falls?|loses?|gains?|beats?|wins?|"
    r"stays?|explodes?|equal|outperforms?|no difference|as good as|hangs? on)\b"
)
"""Words that say how encodings compare."""

NAMED = re.compile(
    r"\b(ALiBi|RoPE|SeqPE|T5|NTK|YaRN|FoX|DAPE|CABLE|KERPLE|LieRE|LookHere|CoPE|FIRE|xPos|[Ss]inus|no enc)"
)


@pytest.mark.parametrize("page", PAGES)
def test_prose_about_results_says_nothing_that_is_no_claim(page: str) -> None:
    text = ANSWERED.sub("", about_results(page))
    prose = " ".join(line for line in text.splitlines() if not line.startswith(("|", "#", "!")))
    found = [
        sentence
        for sentence in re.split(r"(?<=[.:;])\s+|\s- ", re.sub(r"`[^`]*`", "", prose))
        # What a paper claims is no statement of ours.
        if VERDICT.search(sentence) and NAMED.search(sentence) and "is claimed to" not in sentence
    ]
    assert found == []


def test_the_tables_of_the_front_page_are_those_of_the_results() -> None:
    rows: dict[tuple[str, ...], set[str]] = {}
    for path in RESULTS.glob("*/leaderboard.md"):
        for line in path.read_text("utf-8").splitlines():
            rows.setdefault(tuple(re.findall(r"[\d.]+ ± [\d.]+", line)), set()).add(path.parent.name)
    shown = [
        line for line in about_results("README.md").splitlines() if line.startswith("| ") and "±" in line
    ]
    assert len(shown) > 30
    named = {"quickstart", "images-quickstart", "novels-trained", "seqpe-recipe", "cifar10"}
    # A run that two sweeps share is a row of both.
    found = {line: rows.get(tuple(re.findall(r"[\d.]+ ± [\d.]+", line)), set()) & named for line in shown}
    assert [line for line, sweeps in found.items() if not sweeps] == []
    assert set().union(*found.values()) == named


def bits_per_byte(sweep: str) -> dict[tuple[str, str], str]:
    """The means of the first table of a leaderboard, by row and extent."""
    page = (RESULTS / sweep / "leaderboard.md").read_text("utf-8").partition("\n### ")[0]
    (_, _, *extents), _, *rows = (cells(line) for line in page.splitlines() if line.startswith("|"))
    return {
        (name, extent): cell.strip("*").partition(" ±")[0]
        for name, _, *scores in rows
        for extent, cell in zip(extents, scores, strict=True)
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_means_of_two_sizes_side_by_side_are_those_of_their_leaderboards() -> None:
    small, large = bits_per_byte("novels-trained"), bits_per_byte("novels-larger")
    text = (RESULTS / "README.md").read_text("utf-8").partition("\n## What is claimed")[0]
    (_, *extents), _, *rows = (cells(line) for line in text.rpartition("\n\n|")[2].splitlines() if line)
    assert len(rows) == 8
    for name, *means in rows:
        assert means == [f"{small[name, extent]} · {large[name, extent]}" for extent in extents]


PUBLISHED = sorted(path.parent.name for path in RESULTS.glob("*/scores.csv"))


MADE_ANEW = [name for name in PUBLISHED if not known_to_runs_alone(RESULTS / name)]


@pytest.mark.parametrize("sweep", MADE_ANEW)
def test_the_committed_tables_are_made_of_the_committed_scores(sweep: str) -> None:
    board = make_board(from_results(RESULTS / sweep), claims=claims_of(sweep, [RESULTS / sweep]))
    made = {name: csv_text(frame) for name, frame in frames(board).items()}
    made["leaderboard.md"] = markdown(board)
    # It holds specifications as they were written, without what they did not say.
    del made["runs.csv"]
    assert made.keys() == {"scores.csv", "costs.csv", "leaderboard.csv", "leaderboard.md", "claims.csv"}
    made["claims.md"] = claims_markdown(sweep, board.answers)
    for name, text in made.items():
        assert text == (RESULTS / sweep / name).read_text(), name


def results_of(sweep: str, place: Path) -> Path:
    """A copy of the tables of a sweep, in a folder of results of its own."""
    folder = place / "results" / sweep
    folder.mkdir(parents=True)
    for path in (RESULTS / sweep).glob("*.*"):
        if path.suffix in (".csv", ".md", ".yaml"):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_results_are_made_anew_where_their_runs_are_not_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results_of("moving-digits-small", tmp_path)
    monkeypatch.chdir(tmp_path)
    (folder / "leaderboard.md").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["leaderboard", "moving-digits-small"]) == 0
    assert "this is made of the CSV files of its results" in capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert (folder / "leaderboard.md").read_text() == (RESULTS / folder.name / "leaderboard.md").read_text()
    assert (folder / "report.html").exists()
    assert main(["leaderboard", "moving-digits"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("sweep", [name for name in PUBLISHED if known_to_runs_alone(RESULTS / name)])
def test_results_that_hold_more_than_their_csv_files_say_are_not_made_anew(
    sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results_of(sweep, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["leaderboard", sweep]) == 2
    assert "its results hold what its runs alone know (" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_claim_beside_several_sweeps_says_which(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(
        "- {claim: a, best: rope, at: 128, sweep: one}\n- {claim: b, best: rope, at: 128, sweep: other}\n"
    )
    assert [claim.claim for claim in claims_of("one", [tmp_path / "none", tmp_path])] == ["a"]
    assert claims_of("third", [tmp_path]) == []


@pytest.mark.usefixtures("without_pictures")
def test_the_claims_beside_the_file_that_is_named_come_before_those_of_the_folder_of_sweeps(
    place_of_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place_of_runs)
    for folder in ("sweeps", "away"):
        (place_of_runs / folder).mkdir()
        (place_of_runs / folder / "claims.yaml").write_text(
            f"- {{claim: of {folder}, best: rope, at: trained}}\n"
        )
    (place_of_runs / "away" / "mine.yaml").write_text("name: quickstart\n")
    for sweep, claim in (("quickstart", "of sweeps"), ("away/mine.yaml", "of away")):
        main(["leaderboard", sweep, "--runs", str(place_of_runs / "runs")])
        assert f"{claim}: " in capsys.readouterr().out
        main(["claims", sweep, "--runs", str(place_of_runs / "runs")])
        assert f"{claim}: " in capsys.readouterr().out


def test_claims_beside_a_file_are_found_by_the_name_that_it_was_submitted_under(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "away").mkdir()
    write(place / "away", tiny(place, seeds=2, train={"steps": 1, "batch": 2}), "mine.yaml")
    assert main(["submit", "away/mine.yaml"]) == 0
    assert main(["claims", "tiny"]) == 2
    told = capsys.readouterr().err
    assert "results/tiny/claims.yaml or away/claims.yaml or sweeps/claims.yaml" in told
    (place / "away" / "claims.yaml").write_text("- {claim: mine, best: rope, at: trained}\n")
    for command in (["claims", "tiny"], ["leaderboard", "tiny"], ["leaderboard"]):
        assert main(command) == 0
        assert "mine: " in capsys.readouterr().out, command
    assert main(["rename", "tiny", "other"]) == 0
    assert main(["claims", "other"]) == 0
    assert "mine: " in capsys.readouterr().out
    assert main(["export", "other", "-o", "other.tar.gz"]) == 0
    with tarfile.open("other.tar.gz") as archive:
        assert not [name for name in archive.getnames() if "folder" in name]
    assert main(["remove", "other", "--yes"]) == 0
    assert not list((place / "runs" / ".sweeps").iterdir())


def test_an_unreadable_file_of_examples_costs_the_text_and_nothing_else(place_of_runs: Path) -> None:
    runs = place_of_runs / "runs"
    (collection,) = from_runs(runs, ["quickstart"])
    (runs / collection.runs[0].run_id / "examples.npz").write_bytes(b"damaged")
    found, warnings, _ = from_folders(runs, collection.sweep)
    assert len(warnings) == 1
    assert "come from seeds alone" in warnings[0]
    assert str(place_of_runs) not in warnings[0], "it stands on a page, which is read on other machines"
    assert collect(collection.sweep, found).scores.equals(collection.scores)


def test_the_examples_of_the_docs_are_claims(tmp_path: Path) -> None:
    page = (RESULTS.parent / "docs" / "results.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(- claim.*?)```", page, re.DOTALL)
    described = textwrap.dedent("".join(re.findall(r"^    .*\n", claims.__doc__ or "", re.MULTILINE)))
    for number, text in enumerate((block, described)):
        (tmp_path / f"{number}.yaml").write_text(text)
        found = read_claims(tmp_path / f"{number}.yaml")
        assert {claim.verb for claim in found} >= {"better", "equal", "flat", "explodes"}
