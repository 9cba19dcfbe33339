"""What the commands of the experiments share: options, a bar, facts about the machine, results."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path

import numba
import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import qpcore
from benchmarks.machine import load, now, processor

RESULTS = Path(__file__).parents[1] / "results"


def parser(module: str, description: str | None, seeds: int = 1) -> argparse.ArgumentParser:
    """Make a parser with the options that every experiment has; `seeds` is how many it runs."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    made.add_argument("--quick", action="store_true", help="a trial of seconds, for tests")
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: benchmarks/results/NAME, or benchmarks/results/draft/NAME if --quick",
    )
    return made


def folder(options: argparse.Namespace, name: str) -> Path:
    """Make the folder that results go to."""
    out = options.out or (RESULTS / "draft" / name if options.quick else RESULTS / name)
    out.mkdir(parents=True, exist_ok=True)
    return out


def save(report: dict, path: Path) -> None:
    """Write a report as JSON, which has no NaN and no infinity: those are an error here."""
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar; the function it yields moves it by one and shows a text behind it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=total, news="")
        yield lambda news: progress.update(task, advance=1, news=news)


def require(package: str, name: str, purpose: str) -> None:
    """Exit with a message if a package that only this purpose needs is absent."""
    if util.find_spec(package) is None:
        raise SystemExit(f"{purpose} needs {name}, which is not installed: pip install '.[bench]'")


def machine() -> dict:
    """What seconds were measured with, and how busy it was at the time."""
    return {
        "cpu": processor(),
        "cpus": os.cpu_count(),
        "load average": load(),
        "time": now(),
        "qpcore threads": qpcore.Settings().thread_count(),
        "torch threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__,
        "qpcore": qpcore.__version__,
    }
