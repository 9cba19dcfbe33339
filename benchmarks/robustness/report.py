"""Records as tables: ``python -m benchmarks.robustness.report DIR`` writes them anew."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.robustness.judge import FALSE, GOOD, INEXACT, LEVELS, OPEN, SHORT, Record
from benchmarks.robustness.plot import draw
from benchmarks.robustness.problems import NASTY
from benchmarks.robustness.results import Run, read
from benchmarks.robustness.table import SOLVERS

OURS = "qpcore"

EXPLANATION = """\
*Default*: every solver as it comes. *High*: each is asked for 1e-9, absolute and relative, where it
takes a tolerance: quadprog takes none, qpth comes with 1e-12, and highs adds 1e-7 to the diagonal
of Q whatever it is asked for. Each solver in a process of its own, on one thread, one problem at a
time, though qpcore and qpth are made for batches; {limit:g} s for a problem. Times are CPU time,
from data in the solver's own layout to its answer.

- **solved**: the right verdict; for optimal problems also the objective within 1e-6 of the
  reference, as a share of max(1, |objective|), and relative residuals up to 1e-6 (default) or 1e-9
  (high).
- **short**: right, with residuals between those two.
- **inexact**: says solved, though a relative residual or the objective is off by more than 1e-6.
- **false**: says solved, infeasible, unbounded or nonconvex of a problem that is not.
- **undecided**: gave up, refused, or **stopped**: ran out of time, raised or died.

Inexact and false are *wrong*. Relative: primal and dual residual over 1 + the largest of their
terms, duality gap over 1 + |objective|. *Time*: shifted geometric mean over all problems, with the
time limit for those not solved."""

Cells = list[str]


def write(folder: Path) -> str:
    """Write results.md and profile.png from the records in the folder, and return the text."""
    found = read(folder)
    runs = [found[name] for name in SOLVERS if name in found]
    settings = list(dict.fromkeys(record.setting for run in runs for record in run.records))
    if not runs:
        return "No results.\n"
    text = markdown(runs, settings)
    (folder / "results.md").write_text(text, encoding="utf-8")
    draw(runs, settings, folder / "profile.png")
    return text


def markdown(runs: Sequence[Run], settings: Sequence[str]) -> str:
    """The whole report."""
    problems = {(r.group, r.name): r.truth for run in runs for r in run.records}
    truths = ", ".join(f"{n} {truth}" for truth, n in Counter(problems.values()).most_common())
    limit = max(run.facts["limit"] for run in runs)
    parts = [
        "# Robustness",
        f"{len(problems)} problems: {truths}.",
        EXPLANATION.format(limit=limit),
        *(part for setting in settings for part in section(runs, setting)),
        "![Share of problems solved within a multiple of the best time](profile.png)",
        "## Runs",
        table(["solver", "versions", "machine", "load average", "when"], map(origin, runs)),
    ]
    for run in runs:
        if run.solver == OURS:
            parts += [reached(run)] if run.of("high") else []
            parts += [f"## What {OURS} does not solve", failures(run.records)]
    return "\n\n".join(parts) + "\n"


def section(runs: Sequence[Run], setting: str) -> Iterable[str]:
    """Tables of one setting."""
    here = [run for run in runs if run.of(setting)]
    yield f"## Setting: {setting}"
    yield table(
        [
            "solver",
            "solved",
            "%",
            "short",
            "inexact",
            "false",
            "undecided",
            "stopped",
            "time, shift 10 s",
            "time, shift 1 ms",
        ],
        (row(run, setting) for run in here),
    )
    yield (
        "Percent of problems with the right verdict and all three residuals within a level; the "
        "last column asks for the objective alone."
    )
    yield table(
        [
            "solver",
            *(f"{kind} {level:.0e}" for kind in ("absolute", "relative") for level in LEVELS),
            "objective",
        ],
        (rates(run, setting) for run in here),
    )
    yield "Solved, by set."
    groups = list(dict.fromkeys(record.group for run in here for record in run.of(setting)))
    yield table(
        ["set", "problems", *(run.solver for run in here)],
        (by_set(here, setting, group) for group in groups),
    )


def row(run: Run, setting: str) -> Cells:
    """Outcomes and times."""
    records = run.of(setting)
    count = Counter(record.outcome() for record in records)
    stopped = sum(record.seconds is None for record in records)
    limit = run.facts["limit"]
    return [
        run.solver,
        str(count[GOOD]),
        percent(count[GOOD], len(records)),
        *(str(count[name]) for name in (SHORT, INEXACT, FALSE, OPEN)),
        str(stopped),
        f"{geometric_mean(records, limit, 10.0):.3g} s",
        f"{1e3 * geometric_mean(records, limit, 1e-3):.3g} ms",
    ]


def geometric_mean(records: Sequence[Record], limit: float, shift: float) -> float:
    """Shifted geometric mean of the seconds, as in qpbenchmark."""
    seconds = np.array([r.seconds if r.outcome() == GOOD else limit for r in records], float)
    return float(np.exp(np.log(seconds + shift).mean()) - shift)


def rates(run: Run, setting: str) -> Cells:
    """Success rates at each level."""
    records = run.of(setting)
    hits = [sum(r.exact(v, kind) for r in records) for kind in (False, True) for v in LEVELS]
    objective = sum(r.true and (r.agrees or r.verdict != "solved") for r in records)
    return [run.solver, *(percent(hit, len(records)) for hit in [*hits, objective])]


def by_set(runs: Sequence[Run], setting: str, group: str) -> Cells:
    """Problems solved in one set."""
    mine = [[r for r in run.of(setting) if r.group == group] for run in runs]
    counts = [str(sum(r.outcome() == GOOD for r in records)) for records in mine]
    return [group, str(max(map(len, mine))), *counts]


def origin(run: Run) -> Cells:
    """Where a run's figures come from."""
    facts, machine = run.facts, run.facts["machine"]
    versions = facts["versions"] | {name: machine[name] for name in ("python", "numpy")}
    return [
        run.solver,
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        str(facts["load average"]),
        facts["started"],
    ]


def reached(run: Run, level: float = 1e-8) -> str:
    """How many of the solvable problems but the nasty ones reach the level at high accuracy."""
    solvable = [r for r in run.of("high") if r.truth == "optimal" and r.group != NASTY]
    short = [f"{r.group}/{r.name}" for r in solvable if not r.reaches(level)]
    share = percent(len(solvable) - len(short), max(1, len(solvable)))
    return (
        f"Asked for 1e-9, {run.solver} reaches {level:.0e} on {len(solvable) - len(short)} of the "
        f"{len(solvable)} solvable real problems, {share} %: solved, and each of primal residual, "
        f"dual residual and duality gap, over 1 + the largest of its terms, is within. Not on: "
        f"{', '.join(short) or 'none'}."
    )


def failures(records: Sequence[Record]) -> str:
    """Every record that is not solved, in a block of fixed width; residuals are relative."""
    head = (
        f"{'problem':<34} {'n':>4} {'m':>4} {'p':>4} {'truth':<17} {'outcome':<9} {'iter':>4} "
        f"{'primal':>6} {'dual':>6} {'gap':>6} {'object':>6} {'seconds':>7}  reason"
    )
    lines = []
    for setting in dict.fromkeys(record.setting for record in records):
        open_ones = [r for r in records if r.setting == setting and r.outcome() != GOOD]
        lines += ["", f"{setting}: {len(open_ones)}", *map(failure, open_ones)]
    return "\n".join(["```text", head, *lines, "```"])


def failure(record: Record) -> str:
    """One line of the above."""
    r = record
    measures = (r.primal_relative, r.dual_relative, r.gap_relative, r.objective)
    numbers = " ".join(f"{'-' if v is None else format(v, '.0e'):>6}" for v in measures)
    steps = "-" if r.iterations is None else r.iterations
    seconds = "-" if r.seconds is None else f"{r.seconds:.3f}"
    return (
        f"{f'{r.group}/{r.name}':<34} {r.n:>4} {r.m:>4} {r.p:>4} {r.truth:<17} {r.outcome():<9} "
        f"{steps:>4} {numbers} {seconds:>7}  {r.reason}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, the first column to the left and numbers to the right."""
    rows = list(rows)
    numeric = [all(r[i][:1].isdigit() for r in rows) for i in range(len(head))]
    rule = ["--:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def percent(part: int, whole: int) -> str:
    """Share to a tenth."""
    return f"{100 * part / whole:.1f}"


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
