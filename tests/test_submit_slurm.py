"""What SLURM is asked for: options, profiles and parameters, checked before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes.fake_slurm import FakeSlurm
from specimens.tiny_sweeps import load, tiny, write
from specimens.trained_runs import trained

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.submission import estimate
from pebench.submission.profile import merged, profiles_folder, read_profile
from pebench.submission.resources import Resources
from pebench.sweeping import yaml_file


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Commands of SLURM in front of all others."""
    slurm = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{slurm.folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return slurm


def submit(*arguments: str) -> int:
    return main(["submit", "tiny.yaml", "--cluster", "slurm", *arguments])


def files(folder: Path) -> set[tuple[str, int]]:
    ours = (path for path in folder.rglob("*") if "bin" not in path.relative_to(folder).parts)
    return {(str(path), path.stat().st_mtime_ns) for path in ours}


def test_a_dry_run_prints_jobs_and_script_and_touches_nothing(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, seeds=3))
    before = files(place)
    options = [
        "--partition",
        "gpu",
        "--account",
        "lab",
        "--qos",
        "long",
        "--constraint",
        "a100",
        "--gpus",
        "1",
    ]
    options += ["--cpus", "4", "--mem", "16G", "--time", "2:00:00", "--max-parallel", "2", "--pack", "2"]
    options += ["--slurm", "reservation=spring", "--slurm", "exclusive", "--setup", "module load cuda/12.4"]
    assert submit(*options, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "6 of 6 cells to start" in told
    assert "3 jobs in 1 array, 2 cells a job, 2 at a time, at most 2 at a time" in told
    for line in (
        "#SBATCH --array=0-2%2",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
        "#SBATCH --qos=long",
        "#SBATCH --constraint=a100",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=16384M",
        "#SBATCH --time=120",
        "#SBATCH --reservation=spring",
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "module load cuda/12.4",
    ):
        assert f"\n{line}\n" in told
    assert " -P -u -m submitit.core._submit " in told, "no package of the folder of submission is taken"
    assert "--kill-on-bad-exit=1 --cpus-per-task=4" in told
    assert files(place) == before
    assert fake.calls("sbatch") == ["--help"]


def test_ranks_become_tasks_spread_over_the_nodes(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, train={"steps": 4, "batch": 8}, execution={"ranks": 4}))
    assert submit("--nodes", "2", "--cpus", "3", "--dry-run") == 0
    told = capsys.readouterr().out
    assert "each job: time 4:00:00, nodes 2, ranks 4, cpus 3" in told
    lines = told.splitlines()
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=2", "#SBATCH --cpus-per-task=3"} <= {*lines}
    (step,) = (line for line in lines if line.startswith("srun"))
    assert " -P -u -m submitit.core._submit " in told, "no package of the folder of submission is taken"
    assert "--kill-on-bad-exit=1 --cpus-per-task=3" in step


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--nodes 2 --ranks 1", "1 rank cannot be shared equally by 2 nodes: --ranks takes a multiple of 2."),
        ("--nodes 2 --ranks 3", "a batch of 2 does not divide into equal parts for 3 ranks: take 2, or an"),
        ("--ranks 2 --pack 2", "a job of 2 ranks carries out one cell: --pack is for cells of one rank."),
    ],
)
def test_ranks_that_cannot_share_the_work_are_refused(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str], options: str, reason: str
) -> None:
    write(place, tiny(place))
    before = files(place)
    assert submit(*options.split()) == 2
    assert capsys.readouterr().err.startswith(f"pebench: {reason}")
    assert files(place) == before


@pytest.mark.parametrize("cluster", ["inline", "local"])
def test_a_dry_run_elsewhere_touches_nothing_either(
    place: Path, capsys: pytest.CaptureFixture[str], cluster: str
) -> None:
    write(place, tiny(place))
    before = files(place)
    assert main(["submit", "tiny.yaml", "--cluster", cluster, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "2 of 2 cells to start" in told
    assert "  run\tencoding\ttask\tseed\ttime\n" in told
    assert f"({cluster})" in told
    assert files(place) == before


def test_a_dry_run_estimates_from_runs_of_the_same_task_and_size(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, train={"steps": 4000, "batch": 2}))
    assert submit("--dry-run") == 0
    assert "no finished run in this folder is like any of these cells" in capsys.readouterr().out
    run = trained(place, "rope")
    sweep = load(place, train={"steps": 4000, "batch": 2})
    expected = estimate.seconds(place / "runs", sweep.cells)
    assert len(expected) == 2, "an encoding that never ran takes as long as the others"
    longer = estimate.seconds(place / "runs", load(place, train={"steps": 8000, "batch": 2}).cells)
    result = run.result()
    assert result is not None
    assert result.cost.items_per_second is not None
    rope = sweep.cells[1].run_id
    assert min(longer.values()) - expected[rope] == pytest.approx(
        4000 * 2 * 16 / result.cost.items_per_second
    )
    assert estimate.seconds(place / "runs", load(place, model={"width": 32, "heads": 2}).cells) == {}
    train = {"steps": 4, "batch": 2}
    often = load(place, train={**train, "evaluate_every": 1}).cells
    once = load(place, train={**train, "evaluate_at": [4]}).cells
    four, one = (sum(estimate.seconds(place / "runs", cells).values()) for cells in (often, once))
    assert four > one > 0
    write(place, tiny(place, train={"steps": 4000, "batch": 2}))
    assert submit("--dry-run") == 0
    assert "from earlier runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--slurm", "reservaton=x"],
            "unknown parameter 'reservaton' of sbatch: did you mean 'reservation'?",
        ),
        (["--slurm", "ntasks=2"], "'ntasks' has an option of its own: write '--ranks'."),
        (["--slurm", "partition=x"], "'partition' has an option of its own: write '--partition'."),
        (["--slurm", "array=0-3"], "the parameter 'array' of sbatch cannot be set: the cells of the sweep"),
        (["--slurm", "--wrap=ls"], "the parameter 'wrap' of sbatch cannot be set"),
        (["--slurm", "gres=a", "--slurm", "gres=b"], "the parameter 'gres' of sbatch stands twice."),
        (["--slurm", "=3"], "'=3' is not of the form key=value"),
        (["--at-once", "2"], "--at-once says how many cells of a pack run side by side"),
        (["--setup", " "], "a line of the set-up is empty"),
        (["--profile", "lab"], "unknown profile 'lab': there is none ("),
    ],
)
def test_what_sbatch_would_not_take_is_refused_before_anything_is_written(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    write(place, tiny(place))
    assert submit(*options) == 2
    told = capsys.readouterr().err
    assert told.startswith("pebench: ")
    assert sentence in told
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    "flag", [["--profile", "lab"], ["--account", "a"], ["--pack", "2"], ["--slurm", "a=b"]]
)
def test_what_is_for_slurm_is_refused_elsewhere(
    place: Path, capsys: pytest.CaptureFixture[str], flag: list[str]
) -> None:
    write(place, tiny(place))
    assert main(["submit", "tiny.yaml", "--cluster", "local", *flag]) == 2
    assert f"{flag[0]} is for '--cluster slurm'" in capsys.readouterr().err


PROFILE = """\
partition: gpu
time: 12:00:00
mem: 32G
max-parallel: 16
pack: 2
setup: |
  module load cuda/12.4
  source activate lab
slurm: {reservation: spring, exclusive: true}
"""


def test_a_profile_beside_the_sweep_or_in_the_users_folder_is_found(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place))
    profiles_folder().mkdir(parents=True)
    (profiles_folder() / "lab.yaml").write_text(PROFILE)
    assert main(["submit", "tiny.yaml", "--profile", "lab", "--dry-run"]) == 0, "it implies SLURM"
    told = capsys.readouterr().out
    assert "#SBATCH --time=720\n" in told
    assert "module load cuda/12.4\nsource activate lab\n" in told
    (place / "lab.yaml").write_text("partition: beside")
    assert main(["submit", "tiny.yaml", "--profile", "lab", "--dry-run"]) == 0
    assert "--partition=beside" in capsys.readouterr().out
    assert main(["submit", "tiny.yaml", "--profile", "lob"]) == 2
    assert "unknown profile 'lob': did you mean 'lab'?" in capsys.readouterr().err
    assert main(["submit", "tiny.yaml", "--profile", "./nowhere.yaml"]) == 2
    assert "cannot read nowhere.yaml" in capsys.readouterr().err


def test_the_command_line_beats_the_profile(place: Path) -> None:
    (place / "lab.yaml").write_text(PROFILE)
    profile = read_profile("lab", place / "tiny.yaml")
    alone = Resources(**merged(profile, {}))
    assert (alone.partition, alone.time, alone.mem, alone.max_parallel) == ("gpu", 720, 32.0, 16)
    assert (alone.pack, alone.setup) == (2, ("module load cuda/12.4", "source activate lab"))
    assert alone.slurm == {"reservation": "spring", "exclusive": True}
    both = Resources(**merged(profile, {"partition": "cpu", "slurm": {"reservation": "autumn"}}))
    assert (both.partition, both.time, both.setup) == ("cpu", 720, alone.setup)
    assert both.slurm == {"reservation": "autumn", "exclusive": True}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("partitoin: gpu", r"unknown option 'partitoin' of profile .*lab.yaml: did you mean 'partition'"),
        ("time: soon", r"option 'time': 'soon' is no time limit"),
        ("mem: much", r"option 'mem': 'much' is no amount of memory"),
        ("gpus: many", r"option 'gpus': .*integer"),
        ("[gpu]", r"must hold 'key: value' lines"),
    ],
)
def test_a_wrong_profile_is_refused_in_a_sentence(place: Path, text: str, sentence: str) -> None:
    (place / "lab.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_profile("lab.yaml", place / "tiny.yaml")


def test_a_time_in_yaml_is_no_number() -> None:
    assert yaml_file.parse("[4:00:00, 1:30, 90, 1e-3]", "here") == ["4:00:00", "1:30", 90, 1e-3]


def test_a_date_and_marks_of_older_yaml_are_texts() -> None:
    assert yaml_file.parse("[2026-11-28, =, <<, yes]", "here") == ["2026-11-28", "=", "<<", "yes"]


@pytest.mark.parametrize(
    ("cluster", "name"), [("slurm", "10%sparse"), ("slurm", "a\\=0"), ("local", "100%A_%a")]
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["submit", "dry-run"])
def test_a_path_that_slurm_would_change_is_refused(
    fake: FakeSlurm, place: Path, capsys: pytest.CaptureFixture[str], cluster: str, name: str, dry: list[str]
) -> None:
    write(place, tiny(place))
    assert main(["submit", "tiny.yaml", "--cluster", cluster, "--runs", name, *dry]) == 2
    told = capsys.readouterr().err
    assert f"means something else to '--cluster {cluster}': name another folder with --runs" in told
    assert told.count("\n") == 1
    assert not (place / name).exists()
