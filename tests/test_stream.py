"""A stream gives the bits of one solve, within its budget, and reads and writes memory maps."""

import sys
import tracemalloc
from types import ModuleType

import numpy as np
import pytest
from checks import assert_same_bits, fields
from problems import Form, known

from qpcore import ProblemError, Settings, SettingsError, SolveError, Status, solve, solve_stream

COUNT = 61
FORMS = [Form(5, 6, 2, box="both"), Form(4, 9, rows="mixed"), Form(3, box="lower", rank=0)]


def collected(stream):
    """Fields of all parts, put together."""
    parts = [(part, fields(solution)) for part, solution in stream]
    edges = [part.start for part, _ in parts] + [parts[-1][0].stop]
    assert edges[0] == 0
    assert [part.stop for part, _ in parts] == edges[1:]
    names = parts[0][1]
    return {name: np.concatenate([found[name] for _, found in parts]) for name in names}, edges


@pytest.mark.parametrize("memory", [1, 5e3, 1.2e4, 2**30])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_bits_of_one_solve(form, dtype, memory):
    data = {k: v.astype(dtype) for k, v in known(form, 3, (COUNT,)).data.items()}
    settings = Settings(threads=1)
    found, edges = collected(solve_stream(**data, settings=settings, memory=memory, throw=False))
    assert_same_bits(found, fields(solve(**data, settings=settings, throw=False)))
    assert edges[-1] == COUNT
    assert (len(edges) == 2) == (memory == 2**30)


@pytest.mark.parametrize("shared", [("Q",), ("G", "A"), ("Q", "G", "A")], ids="".join)
def test_shared_arguments_go_to_every_part(shared):
    data = known(FORMS[0], 3, (COUNT,), shared).data
    data["Q"] = data["Q"][None] if data["Q"].ndim == 2 else data["Q"]  # an axis of size 1
    found, edges = collected(solve_stream(**data, memory=1e4))
    assert len(edges) > 2
    assert_same_bits(found, fields(solve(**data)))


def test_more_batch_axes_and_numbers_and_lists():
    data = known(Form(4, 3), 3, (6, 5)).data
    data["h"] = data["h"][0]  # of the second axis alone
    data |= {"lb": -3, "ub": np.full(4, np.inf)}
    found, edges = collected(solve_stream(**data, memory=3000))
    assert len(edges) > 2
    assert_same_bits(found, fields(solve(**data)))
    lists = {"Q": np.eye(2).tolist(), "q": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}
    found, _ = collected(solve_stream(**lists, lb=-1.0, memory=1))
    assert_same_bits(found, fields(solve(**lists, lb=-1.0)))


def test_expanded_argument_stays_shared():
    data = known(Form(4, 3), 3, (COUNT,), ("Q",)).data
    data["Q"] = np.broadcast_to(data["Q"], (COUNT, 4, 4))
    for _, solution in solve_stream(**data, memory=1e4):
        assert solution.problem.Q.shape in ((4, 4), (1, 4, 4))


def test_numbers_adapt_to_float32():
    data = {k: v.astype(np.float32) for k, v in known(Form(4, 3), 3, (20,)).data.items()}
    for _, solution in solve_stream(**data, lb=-10.0, memory=1):
        assert solution.x.dtype == np.float32


def test_from_and_to_memory_maps(tmp_path):
    data = known(Form(5, 4), 3, (COUNT,)).data
    maps = {}
    for name, array in data.items():
        np.save(tmp_path / f"{name}.npy", array)
        maps[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (COUNT, 5))
    for part, solution in solve_stream(**maps, memory=5e3):
        assert np.shares_memory(solution.problem.Q, maps["Q"])  # read in place
        x[part] = solution.x
    x.flush()
    assert np.load(tmp_path / "x.npy").tobytes() == solve(**data).x.tobytes()


def peak(work):
    """Most memory that is allocated beyond what there was."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("convert", [False, True], ids=["read in place", "converted"])
def test_memory_stays_within_the_budget(convert):
    count, memory = 6000, 2**20
    data = {k: np.repeat(v, count // 3, 0) for k, v in known(Form(6, 8), 3, (3,)).data.items()}
    if convert:
        data["q"] = data["q"].astype(np.float32)  # the other arguments stay float64
    settings = Settings(threads=1)
    solve(**{k: v[:8] for k, v in data.items()}, settings=settings)  # the workspace is there

    def stream():
        for _part, _solution in solve_stream(**data, settings=settings, memory=memory):
            pass

    everything = peak(lambda: solve(**data, settings=settings))
    assert everything > memory
    assert peak(stream) < memory


def test_memory_of_solve_is_answers_and_72_bytes_a_problem():
    known_problems = known(Form(6, 8, 2, box="both"), 3, (3,)).data
    settings, peaks, counts = Settings(threads=1), [], (1500, 6000)
    for count in counts:
        data = {k: np.repeat(v, count // 3, 0) for k, v in known_problems.items()}
        solve(**data, settings=settings)
        peaks.append(peak(lambda data=data: solve(**data, settings=settings)))
    each = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    answers = 8 * (2 * 6 + 8 + 2) + 5
    assert each <= answers + 72 + 24  # the last for what is made and dropped on the way


def test_failures_are_reported_with_their_part():
    data = known(Form(4, 3), 3, (40,)).data
    data["q"][25, 1] = np.nan
    statuses = [s.status for _, s in solve_stream(**data, memory=2000, throw=False)]
    assert np.flatnonzero(np.concatenate(statuses)).tolist() == [25]
    stream = solve_stream(**data, memory=2000)
    with pytest.raises(SolveError, match=r"In part 2\d:\d\d of the stream: 1 of ") as caught:
        list(stream)
    assert (caught.value.solution.status == Status.NONFINITE_INPUT).sum() == 1


def test_bad_arguments_raise_at_once():
    eye, ones = np.eye(3), np.ones((5, 3))
    with pytest.raises(ProblemError, match=r"q has shape \(5, 2\)"):
        solve_stream(eye, ones[:, :2])
    with pytest.raises(ProblemError, match="expected a batch axis"):
        solve_stream(eye, ones[0])
    with pytest.raises(SettingsError, match="memory is 0"):
        solve_stream(eye, ones, memory=0)
    assert list(solve_stream(eye, ones[:0])) == []


def test_progress_bar(monkeypatch):
    bars = []

    class Bar:
        """Stands for tqdm's."""

        def __init__(self, total, unit):
            self.total, self.done, self.closed = total, 0, False
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.closed = True

        def update(self, count):
            self.done += count

    package, module = ModuleType("tqdm"), ModuleType("tqdm.auto")
    module.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", package)
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    for part, _ in solve_stream(np.eye(3), np.ones((50, 3)), memory=2000, progress=True):
        assert bars[0].done == part.start
    assert (bars[0].total, bars[0].done, bars[0].closed) == (50, 50, True)


def test_progress_bar_of_tqdm(capsys):
    pytest.importorskip("tqdm")
    list(solve_stream(np.eye(3), np.ones((50, 3)), memory=2000, progress=True))
    assert "50/50" in capsys.readouterr().err


def test_progress_without_tqdm_raises_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError):
        solve_stream(np.eye(3), np.ones((50, 3)), progress=True)
