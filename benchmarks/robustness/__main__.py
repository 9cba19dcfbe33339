"""Run solvers over a collection of problems: ``python -m benchmarks.robustness --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import load, machine, now
from benchmarks.robustness import problems, report
from benchmarks.robustness.judge import GOOD, Record, judge
from benchmarks.robustness.results import Run, read, save
from benchmarks.robustness.solvers import TOLERANCES
from benchmarks.robustness.table import SOLVERS
from benchmarks.robustness.worker import StartError, Worker

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run; write a file for each solver, results.md and profile.png; print our failures."""
    options = parse(arguments)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    cases = problems.load(options.data, options.sets, options.quick)
    earlier = read(options.out)
    if not options.merge:
        for name in earlier:
            (options.out / f"{name}.json").unlink()
        earlier = {}
    for name in options.solvers:
        reason, done = SOLVERS[name].missing(), earlier.get(name)
        try:
            done = done if reason else compare(name, cases, options, done, console)
        except StartError as error:
            reason = str(error)
        if reason:
            console.print(f"{name} left out: {reason}")
        elif done and name == report.OURS:
            console.print(report.failures(done.records))
    text = report.write(options.out)
    console.print(text.partition("\n## Runs")[0])


def compare(
    name: str,
    cases: Sequence[problems.Case],
    options: argparse.Namespace,
    done: Run | None,
    console: Console,
) -> Run | None:
    """One solver at all settings, written after each one; done is what it did earlier."""
    facts = {
        "versions": SOLVERS[name].versions(),
        "machine": machine(),
        "limit": options.limit,
        "started": now(),
        "load average": load(),
    }
    for setting in options.settings:
        records = run(name, cases, setting, options.limit, console)
        done = Run(name, facts, records).over(done)
        save(options.out, done)
    return done


def run(
    name: str, cases: Sequence[problems.Case], setting: str, limit: float, console: Console
) -> list[Record]:
    """One solver over all problems at one setting."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    worker, records, missed = Worker(SOLVERS[name], limit), [], 0
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(f"{name}, {setting}", total=len(cases))
        try:
            for case in cases:
                records.append(judge(case, setting, *worker.solve(case, setting)))
                missed += records[-1].outcome() != GOOD
                words = f"{name}, {setting}, {missed} not solved"
                progress.update(task, advance=1, description=words)
        finally:
            worker.stop()
    return records


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=problems.DATA, metavar="DIR", help="default: ../shared/data")
    add("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS), metavar="NAME")
    add("--sets", nargs="+", default=[], metavar="SET", help="default: all")
    add("--settings", nargs="+", choices=TOLERANCES, default=list(TOLERANCES))
    add("--limit", type=float, default=10.0, metavar="SECONDS", help="for a problem; default: 10")
    add("--quick", action="store_true", help=f"the {problems.QUICK} smallest problems: a trial")
    add("--merge", action="store_true", help="keep earlier records of what is not run now")
    add("--out", type=Path, metavar="DIR", help="default: results/robustness, or results/draft-...")
    options = parser.parse_args(arguments)
    if not (options.data / "index.csv").exists():
        parser.error(f"no index.csv in {options.data}; name a folder with --data")
    draft = "draft-robustness" if options.quick or options.sets else "robustness"
    options.out = options.out or RESULTS / draft
    return options


if __name__ == "__main__":
    main()
