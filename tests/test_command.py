"""``python -m qpcore``: info tells what is here; after warmup nothing is left to compile."""

import os
import subprocess
import sys

import numpy
import pytest

import qpcore
from qpcore.__main__ import VECTORS, main

AFTER_WARMUP = """
import numpy as np, qpcore
from qpcore.compilation import _dispatchers
for dtype in (np.float64, np.float32):
    for n in (3, 300):
        eye, ones = np.eye(n, dtype=dtype), np.ones((9 if n == 3 else 1, n), dtype)
        rows, sums = np.ones((2, n), dtype), np.ones(2, dtype)
        for settings in (qpcore.Settings(), qpcore.Settings(trace=True, threads=2)):
            for arguments in ({"lb": -5.0}, {"G": eye, "h": ones, "h_lower": -ones * 9},
                              {"A": rows[:1], "b": sums[:1], "ub": 9.0}, {"G": rows, "h": sums}):
                solution = qpcore.solve(eye, ones, **arguments, settings=settings, throw=False)
                qpcore.vjp(solution, dx=np.ones_like(solution.x))
print(sum(sum(d.stats.cache_misses.values()) for d in _dispatchers), len(_dispatchers) >= 3)
"""


def test_info_names_what_is_here(capsys, monkeypatch):
    monkeypatch.setenv("QPCORE_NUM_THREADS", "3")
    main(["info"])
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["qpcore"] == qpcore.__version__
    assert rows["numpy"] == numpy.__version__
    assert rows["threads"] == "3, QPCORE_NUM_THREADS is 3"
    assert rows["vectors"].split(" bits")[0] in (*VECTORS.values(), "unknown")
    assert rows.keys() >= {"python", "processor", "cache", "GPU"}


def test_info_without_the_variable(capsys, monkeypatch):
    monkeypatch.delenv("QPCORE_NUM_THREADS", raising=False)
    main(["info"])
    assert "QPCORE_NUM_THREADS is not set" in capsys.readouterr().out


@pytest.mark.timeout(1800)  # with an empty cache, on a busy machine
@pytest.mark.slow  # two minutes: it compiles everything
def test_nothing_is_compiled_after_warmup():
    warmup = subprocess.run(
        [sys.executable, "-m", "qpcore", "warmup"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert os.path.isdir(warmup[0].removeprefix("Cache: "))
    assert [line[:6] for line in warmup[1:-1]] == [f"{k} of 4" for k in (1, 2, 3, 4)]
    later = subprocess.run(
        [sys.executable, "-c", AFTER_WARMUP], check=True, capture_output=True, text=True
    )
    assert later.stdout.split() == ["0", "True"]
    assert "compiling" not in later.stderr


@pytest.mark.parametrize("arguments", [[], ["cool"]])
def test_unknown_commands_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "usage: python -m qpcore" in capsys.readouterr().err
