"""Arrays hold every cell once, keep to SLURM's bounds and to the user's, and wait for starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pebench.submission.plan import Array, plan


def at_a_time(arrays: list[Array]) -> int:
    """The most jobs that may run together: those of all arrays that nothing orders, one of each chain."""
    running: dict[int, int] = {}
    for place, array in enumerate(arrays):
        chain = array.after[-1] if array.after else place
        running[place] = max(array.parallel or 0, running.pop(chain, 0))
    return sum(running.values())


@given(
    count=st.integers(0, 60),
    largest=st.integers(1, 12),
    pack=st.integers(1, 5),
    parallel=st.none() | st.integers(1, 9),
)
def test_every_cell_has_one_job_within_every_bound(
    count: int, largest: int, pack: int, parallel: int | None
) -> None:
    cells = [f"rope-{number}" for number in range(count)]
    arrays = plan(cells, {}, largest, pack, parallel)
    assert [cell for array in arrays for cell in array.cells] == cells
    assert all(array.jobs <= largest for array in arrays)
    assert all(place < number for number, array in enumerate(arrays) for place in array.after)
    if parallel is not None:
        assert all(array.parallel for array in arrays)
        assert at_a_time(arrays) <= parallel


def test_the_arrays_of_a_wave_wait_for_all_of_the_one_before() -> None:
    cells = ["a", "b", "c", "d"]
    arrays = plan(cells, {"c": "a", "d": "b"}, 1)
    assert [array.cells for array in arrays] == [("a",), ("b",), ("c",), ("d",)]
    assert [array.after for array in arrays] == [(), (), (0, 1), (0, 1)]


def test_a_bound_that_is_smaller_than_the_number_of_arrays_lets_them_follow_each_other() -> None:
    arrays = plan([str(number) for number in range(10)], {}, 2, parallel=3)
    assert [array.parallel for array in arrays] == [1, 1, 1, 1, 1]
    assert [array.after for array in arrays] == [(), (), (), (0,), (1,)]


def test_packs_do_not_mix_a_cell_with_its_start() -> None:
    arrays = plan(["a", "b", "c"], {"c": "a"}, 1000, pack=4)
    assert [(array.cells, array.jobs) for array in arrays] == [(("a", "b"), 1), (("c",), 1)]
