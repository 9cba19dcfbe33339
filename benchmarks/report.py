"""The results of a run as Markdown: ``python -m benchmarks.report DIR`` reads DIR/results.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.standing import fitted, overview, rates, short

COLUMNS = {
    "solver": "---",
    "threads": "--:",
    "forward, µs": "--:",
    "ratio": "--:",
    "forward + backward, µs": "--:",
    "ratio ": "--:",
    "primal": "--:",
    "dual": "--:",
    "gap": "--:",
    "objective": "--:",
    "gradient": "--:",
    "failures": "--:",
}

EXPLANATION = """\
Microseconds per problem: the median over the turns of one run, divided by the batch, and in
brackets the fastest and the slowest turn. From arrays in the solver's own layout to answers in
memory; each solver in a process of its own, which take turns. A turn is one call that is not timed,
as it finds caches and cores as the other solvers left them, and then calls for {turn:.0f} ms, at
least one, of which the median counts; of calls that take more than {long:.0f} s it is the first
one. *-forked*: the batch split over one forked process per core, started before the clock. Where a
solver would take minutes it gets only the first problems of the batch, as many as *failures* are
out of. *Ratio*: the solver's median over that of the named one, which has the same cores; above 1,
ours is faster. *primal, dual, gap, objective*: the largest over the batch, relative to the size of
the terms; - where a solver gives no multipliers. *gradient*: median and largest error of any
gradient over the largest entry of any, against exact ones on the first {problems} problems; the one
of Q is left out for cvxpylayers, which takes a factor of it, and qpax is off by its gradient of G.
*Failures*: problems that the solver gave up, or with a residual above {failed:.0e}. Tolerance
{tolerance:.0e} where one can be set; quadprog has none."""


STANDING = """\
The median of ours on all cores over that of the fastest peer that solved everything: below 1, ours
is faster. Ours is the fastest of `qpcore`, `qpcore-mixed` (precision="mixed") and, with backward,
`torch_bridge`."""

RATES = """\
Operations by the formula in `flops.py`, which counts the cheapest dense form of an iteration and
nothing else, times the iterations that the problems took, over the time of the solve; beside the
rate of NumPy's dgemm in the same run."""

GROWTH = """\
Exponent of time in the quantity that grows, fitted to the upper half of the series: of the whole
batch's time in its size, of the time per problem in n = m and in m."""


def write(folder: Path) -> str:
    """Turn folder/results.json into folder/results.md and pictures, and return the text."""
    from benchmarks.plots import draw

    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    pictures = draw(report, folder)
    text = markdown(report)
    if pictures:
        text += "\n" + "\n".join(f"![{path.stem}]({path.name})" for path in pictures) + "\n"
    (folder / "results.md").write_text(text, encoding="utf-8")
    return text


def markdown(report: dict) -> str:
    """The whole report."""
    machine = report["machine"]
    versions = {"python": machine["python"], "numpy": machine["numpy"]}
    for peer in (peer for workload in report["workloads"] for peer in workload["peers"]):
        versions |= peer["versions"]
    checked = [
        peer["gradient error"]["problems"]
        for workload in report["workloads"]
        for peer in workload["peers"]
        if "gradient error" in peer
    ]
    parts = [
        "# Speed on the CPU",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {report['started']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Seed {report['seed']}. OMP_WAIT_POLICY={machine['OMP_WAIT_POLICY']}.",
        EXPLANATION.format(
            problems=max(checked, default=0),
            failed=report["failed above"],
            tolerance=report["tolerance"],
            turn=1e3 * report["effort"]["turn"],
            long=report["effort"]["long"],
        ),
        "## Beside the fastest\n\n" + STANDING,
        table(*overview(report)),
        "## Share of the machine\n\n" + RATES,
        table(*rates(report)),
        *(["## Growth\n\n" + GROWTH, table(*fitted(report))] if report["sweeps"] else []),
        *map(section, report["workloads"]),
    ]
    if report["skipped"]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report["skipped"].items())
        parts.append(f"Left out: {reasons}.")
    return "\n\n".join(parts) + "\n"


def table(columns: dict[str, str], rows: list[list[str]]) -> str:
    """Markdown of a table; columns by heading, each with its line of dashes."""
    lines = [columns.keys(), columns.values(), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(workload: dict) -> str:
    """One workload and its table."""
    peers = {peer["peer"]: peer for peer in workload["peers"]}
    body = table(COLUMNS, [row(peer, peers, workload) for peer in peers.values()])
    errors = [f"{name} stopped: {peer['error']}." for name, peer in peers.items() if peer["error"]]
    head = (
        f"## {workload['name']}: {workload['n']} variables, {workload['m']} inequalities, "
        f"{workload['p']} equations, batch {workload['batch']}\n\n{workload['problems']} "
        f"Load average {workload['load average before']} before and "
        f"{workload['load average after']} after."
    )
    return "\n\n".join([head, body, *errors])


def row(peer: dict, peers: dict[str, dict], workload: dict) -> list[str]:
    """One solver's cells."""
    cells = [peer["peer"], str(peer["threads"])]
    for task in ("forward", "forward + backward"):
        cells += [microseconds(peer, task), ratio(peer, peers, task)]
    residuals = peer.get("residuals", {})
    cells += [number(residuals.get(name, {}).get("max")) for name in COLUMNS if name in residuals]
    cells += ["-"] * (10 - len(cells))
    error = peer.get("gradient error")
    cells.append(f"{number(error['median'])}, {number(error['max'])}" if error else "-")
    cells.append(f"{peer['failures']} of {peer['problems timed']}" if "failures" in peer else "-")
    return cells


def microseconds(peer: dict, task: str) -> str:
    """Median time per problem, and the range."""
    if task not in peer["times"]:
        return "-"
    times = peer["times"][task]
    values = times["median"], min(times["seconds"]), max(times["seconds"])
    middle, low, high = (short(1e6 * value / peer["problems timed"]) for value in values)
    return f"{middle} ({low} to {high})"


def ratio(peer: dict, peers: dict[str, dict], task: str) -> str:
    """Median over the median of ours with the same cores."""
    ours = peers.get(peer["against"], {"times": {}})["times"]
    if task not in peer["times"] or task not in ours:
        return "-"
    return f"{peer['times'][task]['median'] / ours[task]['median']:.2f} × {peer['against']}"


def number(value: float | None) -> str:
    """A residual, to two digits."""
    return "-" if value is None else f"{value:.1e}"


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
