"""Run the experiments of the paper, all or some: ``python -m benchmarks.paper --quick``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module, util
from time import perf_counter

from benchmarks.paper import command

EXPERIMENTS = {
    "timing": "benchmarks.paper.timing.__main__",
    "denoising": "benchmarks.paper.denoising.__main__",
    "denoising speed": "benchmarks.paper.denoising.speed",
    "sudoku": "benchmarks.paper.sudoku.__main__",
    "sudoku baselines": "benchmarks.paper.sudoku.baselines",
    "sudoku 9x9": "benchmarks.paper.sudoku.nine",
    "classification": "benchmarks.paper.classification.__main__",
    "decision": "benchmarks.paper.decision.__main__",
    "scipy": "benchmarks.scipy_baselines",
}
FULL = {"sudoku": ["--seeds", "0", "1", "2", "3", "4", "--clip", "3", "inf"]}
"""Options of the full form, where it is not the default of the command."""

NEEDS = {"denoising speed": "qpth", "classification": "sklearn"}
"""Packages of the extra `bench` without which an experiment is left out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one after the other, then say how long each took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form of each")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    options = parser.parse_args(arguments)
    minutes = {}
    for name in options.only:
        package = NEEDS.get(name)
        if package and util.find_spec(package) is None:
            minutes[name] = f"left out: {package} is not installed"
            continue
        print(f"\n=== {name}", flush=True)
        run: Callable[[list[str]], None] = import_module(EXPERIMENTS[name]).main
        start = perf_counter()
        run(["--quick"] if options.quick else FULL.get(name, []))
        minutes[name] = f"{(perf_counter() - start) / 60:.1f} minutes"
    print()
    for name, text in minutes.items():
        print(f"{name:17} {text}")
    if options.quick:
        print(f"figures and tables are under {command.RESULTS / 'draft'}")


if __name__ == "__main__":
    main()
