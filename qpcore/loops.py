"""The CPU's compiled loops for solves: groups of problems are brought in, worked on, handed out.

What a worker does is a kernel; the drivers let a caller and its helpers do it together. `memory`
has a workspace for each of them; `parts` counts the groups, as `crew.claim` has it.
"""

from qpcore.compilation import compiled
from qpcore.crew import COUNT, claim, together, workspace_of
from qpcore.kernels.active_set import solve_active_set
from qpcore.kernels.certificate import ACTIVE_SET, MINIMUM
from qpcore.kernels.doubt import doubt
from qpcore.kernels.dual import solve_dual
from qpcore.kernels.exact import measure
from qpcore.kernels.ipm import solve_problem
from qpcore.kernels.machine import kernel, team_of_one
from qpcore.kernels.outer import wait_for_stores
from qpcore.kernels.packed import as_elements, slots_in
from qpcore.kernels.relax import relax
from qpcore.kernels.transfer import load, load_point, load_progress, store
from qpcore.kernels.whole import keep
from qpcore.kernels.workspace import carve, carve_dual


@compiled
def solve_range(data, result, memory, sizes, parameters, parts, boxes, hired):
    """Solve the problems of all groups, as many in a group as the memory has slots."""
    together(solve_groups, (data, result, memory, sizes, parameters, parts), boxes, hired)


@kernel
def solve_groups(data, result, memory, sizes, parameters, parts, worker):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    packs = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    group = claim(parts)
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        solve_problem(work, parameters, sizes, team)
        if parameters.sought == MINIMUM:
            doubt(work, parameters.clear, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)
        # The search for a ray changes the matrices, which are then loaded again.
        again = parameters.sought == MINIMUM
        group = claim(parts)


@compiled
def solve_active_sets(data, result, memory, sizes, parameters, parts, boxes, hired):
    """Take the problems of all groups from where they are to the answer."""
    together(solve_sets_of_groups, (data, result, memory, sizes, parameters, parts), boxes, hired)


@kernel
def solve_sets_of_groups(data, result, memory, sizes, parameters, parts, worker):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    packs = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    group = claim(parts)
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        if parameters.sought == ACTIVE_SET:
            load_point(work.at, result, sizes, group * slots, slots, team)
        solve_active_set(work, parameters, sizes, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)
        again, group = True, claim(parts)


@kernel
def work_of_dual(memory, number, sizes):
    """The Work in one of several workspaces for the dual form."""
    packs = as_elements(workspace_of(memory, number))  # pyright: ignore[reportCallIssue]
    return carve_dual(packs, sizes.n, sizes.m, sizes.p, sizes.rows)


@compiled
def solve_duals(data, result, memory, kept, sizes, parameters, parts, boxes, hired):
    """Solve the problems of all groups in the dual form; factors go into `kept`, if it has room."""
    arguments = (data, result, memory, kept, sizes, parameters, parts)
    together(solve_duals_of_groups, arguments, boxes, hired)


@kernel
def solve_duals_of_groups(data, result, memory, kept, sizes, parameters, parts, worker):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    work = work_of_dual(memory, worker, sizes)
    group = claim(parts)
    while group < parts[COUNT]:
        if memory.kept:
            work = work_of_dual(memory, group, sizes)
        fresh = load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        searched = solve_dual(work, parameters, sizes, fresh, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)
        keep(kept, group, work, searched, parameters.delta, sizes, team)
        again, group = not memory.kept, claim(parts)
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def relax_range(data, result, memory, sizes, parameters, mu, close, parts, boxes, hired):
    """Take the problems of all groups to their points of the central path."""
    arguments = (data, result, memory, sizes, parameters, mu, close, parts)
    together(relax_groups, arguments, boxes, hired)


@kernel
def relax_groups(data, result, memory, sizes, parameters, mu, close, parts, worker):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    packs = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    group = claim(parts)
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        relax(work, mu, close, parameters, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)
        again, group = True, claim(parts)


@compiled
def measure_range(data, answer, places, out, room, parts, boxes, hired):
    """Measure the answers of the problems at `places`, exactly, into rows of `out`."""
    together(measure_part, (data, answer, places, out, room, parts), boxes, hired)


@kernel
def measure_part(data, answer, places, out, room, parts, worker):
    """A worker's part of it."""
    k = claim(parts)
    while k < parts[COUNT]:
        measures = measure(data, answer, room[worker], places[k])
        for i in range(len(measures)):
            out[k, i] = measures[i]
        k = claim(parts)
