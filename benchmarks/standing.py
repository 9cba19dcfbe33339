"""What the results of a run come to: ratios to the fastest peer, rates, exponents of growth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

FORWARD, BACKWARD = "forward", "forward + backward"
OURS = {
    FORWARD: ("qpcore", "qpcore-mixed"),
    BACKWARD: ("qpcore", "qpcore-mixed", "torch_bridge"),
}
"""Ours on all cores, by task."""


def each(peer: dict, task: str) -> float | None:
    """Median seconds per problem, None where there is none."""
    times = peer["times"].get(task)
    return times["median"] / peer["problems timed"] if times and not peer["error"] else None


def ours(workload: dict, task: str) -> tuple[str, float] | None:
    """The faster of ours on all cores and its seconds per problem."""
    return _least((p for p in workload["peers"] if p["peer"] in OURS[task]), task)


def fastest(workload: dict, task: str) -> tuple[str, float] | None:
    """The fastest peer that solved everything and its seconds per problem."""
    others = (p for p in workload["peers"] if p["against"] and p.get("failures") == 0)
    return _least(others, task)


def _least(peers: Iterable[dict], task: str) -> tuple[str, float] | None:
    seconds = {p["peer"]: each(p, task) for p in peers}
    found = {name: value for name, value in seconds.items() if value is not None}
    return min(found.items(), key=lambda item: item[1]) if found else None


def overview(report: dict) -> tuple[dict[str, str], list[list[str]]]:
    """One row a workload: ours, the fastest peer and the ratio, for both tasks."""
    heads = ("ours, µs", "fastest peer, µs", "ratio")
    columns = {"workload": "---"}
    columns |= {f"{task}: {head}": "--:" for task in (FORWARD, BACKWARD) for head in heads}
    return columns, [
        [w["name"], *_pair(w, FORWARD), *_pair(w, BACKWARD)] for w in report["workloads"]
    ]


def _pair(workload: dict, task: str) -> list[str]:
    mine, peer = ours(workload, task), fastest(workload, task)
    cells = ["-" if mine is None else f"{short(1e6 * mine[1])} {mine[0]}"]
    cells.append("-" if peer is None else f"{short(1e6 * peer[1])} {peer[0]}")
    return [*cells, "-" if None in (mine, peer) else f"{mine[1] / peer[1]:.2f}"]


def rates(report: dict) -> tuple[dict[str, str], list[list[str]]]:
    """One row a workload: iterations, and GFLOP/s on one and on all cores beside dgemm's."""
    names = dict.fromkeys(["qpcore-1", "qpcore"])
    columns = {"workload": "---", "MFLOP per iteration": "--:", "iterations": "--:"}
    columns |= {f"{name}, GFLOP/s": "--:" for name in names}
    columns |= {f"{name}, share of dgemm": "--:" for name in names}
    columns["all cores over one"] = "--:"
    rows = []
    for workload in report["workloads"]:
        peers = {p["peer"]: p for p in workload["peers"] if p["peer"] in names and "GFLOP/s" in p}
        if not peers:
            continue
        some = next(iter(peers.values()))
        cells = [workload["name"], f"{workload['flops per iteration'] / 1e6:.3g}"]
        cells.append(f"{some['iterations']:.1f}")
        speeds = [peers[name]["GFLOP/s"] if name in peers else None for name in names]
        cells += ["-" if v is None else f"{v:.3g}" for v in speeds]
        for name, speed in zip(names, speeds, strict=True):
            limit = report["dgemm"].get(str(peers[name]["threads"])) if name in peers else None
            cells.append(f"{100 * speed / limit:.0f} %" if speed and limit else "-")
        cells.append(f"{speeds[1] / speeds[0]:.2f} ×" if all(speeds) else "-")
        rows.append(cells)
    limits = [
        f"{report['dgemm'].get(k, 0):.1f}" for k in (min(report["dgemm"]), max(report["dgemm"]))
    ]
    return columns, [*rows, ["dgemm, n = 1024", "-", "-", *limits, "100 %", "100 %", "-"]]


def series(sweep: list[dict], over: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What grows, and seconds of a peer: of the whole batch over its size, else per problem."""
    points = []
    for workload in sweep:
        peer = next((p for p in workload["peers"] if p["peer"] == name), None)
        seconds = each(peer, FORWARD) if peer else None
        if seconds is not None:
            points.append((workload[over], seconds * (workload["batch"] if over == "batch" else 1)))
    return tuple(np.array(points).reshape(-1, 2).T)


def exponent(x: np.ndarray, seconds: np.ndarray) -> float:
    """Slope on log axes of the upper half of a series."""
    upper = slice(len(x) // 2, None)
    return float(np.polyfit(np.log(x[upper]), np.log(seconds[upper]), 1)[0])


def fitted(report: dict) -> tuple[dict[str, str], list[list[str]]]:
    """One row a solver: its exponent in every series."""
    sweeps = report["sweeps"]
    names = [p["peer"] for p in next(iter(sweeps.values()))[0]["peers"]]
    rows = []
    for name in names:
        cells = [name]
        for over, sweep in sweeps.items():
            x, seconds = series(sweep, over, name)
            cells.append(f"{exponent(x, seconds):.2f}" if len(x) > 3 else "-")
        rows.append(cells)
    return {"solver": "---"} | dict.fromkeys(sweeps, "--:"), rows


def short(value: float) -> str:
    """A time, to three digits or to the microsecond."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
