"""The CPU's compiled loops: groups of problems are brought in, worked on, and handed out.

What a worker does is a kernel; the drivers let a caller and its helpers do it together. `memory`
has a workspace for each of them; `parts` counts the groups, as `crew.claim` has it.
"""

from qpcore.compilation import compiled
from qpcore.crew import COUNT, claim, together, workspace_of
from qpcore.kernels.active_set import solve_active_set
from qpcore.kernels.adjoint import differentiate, differentiate_prepared, store_derivative
from qpcore.kernels.by_factor import (
    carve_room,
    differentiate_known,
    differentiate_whole,
    load_room,
    store_room,
)
from qpcore.kernels.certificate import ACTIVE_SET, MINIMUM
from qpcore.kernels.doubt import doubt
from qpcore.kernels.dual import factor_matrices, has_inverse, solve_dual
from qpcore.kernels.exact import measure
from qpcore.kernels.ipm import solve_problem
from qpcore.kernels.kept import load_kept, load_kept_cotangents, sizes_of_kept, store_kept
from qpcore.kernels.known import SOUND
from qpcore.kernels.machine import any_lane, kernel, team_of_one
from qpcore.kernels.outer import store_gradients, store_sum, wait_for_stores
from qpcore.kernels.packed import as_elements, as_packs, slots_in
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.relax import relax
from qpcore.kernels.sift import for_worker, sift
from qpcore.kernels.transfer import (
    load,
    load_cotangents,
    load_point,
    load_progress,
    load_solved,
    store,
)
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
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        solve_problem(work, parameters, sizes, team)
        if parameters.sought == MINIMUM:
            doubt(work, parameters.clear, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)
        # The search for a ray changes the matrices, which are then loaded again.
        again = parameters.sought == MINIMUM
        group = claim(parts)  # pyright: ignore[reportCallIssue]


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
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        if parameters.sought == ACTIVE_SET:
            load_point(work.at, result, sizes, group * slots, slots, team)
        solve_active_set(work, parameters, sizes, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)
        again, group = True, claim(parts)  # pyright: ignore[reportCallIssue]


@kernel(makes_arrays=True)
def work_of_dual(memory, number, sizes):
    """The Work in one of several workspaces for the dual form."""
    packs = as_elements(workspace_of(memory, number))  # pyright: ignore[reportCallIssue]
    return carve_dual(packs, sizes.n, sizes.m, sizes.p, sizes.rows)


@compiled
def solve_duals(data, result, memory, kept, sizes, parameters, parts, boxes, hired):
    """Solve the problems of all groups in the dual form; factors go into `kept`, if it has rows."""
    arguments = (data, result, memory, kept, sizes, parameters, parts)
    together(solve_duals_of_groups, arguments, boxes, hired)


@kernel
def solve_duals_of_groups(data, result, memory, kept, sizes, parameters, parts, worker):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    work = work_of_dual(memory, worker, sizes)
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        if memory.kept:
            work = work_of_dual(memory, group, sizes)
        fresh = load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        searched = solve_dual(work, parameters, sizes, fresh, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)
        keep(kept, group, work, searched, parameters.delta, sizes, team)
        again, group = not memory.kept, claim(parts)  # pyright: ignore[reportCallIssue]
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def differentiate_range(
    data, answer, cotangents, derivative, own, memory, sizes, rules, parts, boxes, hired
):
    """Solve the adjoint systems of all groups, and write gradients of what is their own."""
    arguments = (data, answer, cotangents, derivative, own, memory, sizes, rules, parts)
    together(differentiate_groups, arguments, boxes, hired)


@kernel
def differentiate_groups(
    data, answer, cotangents, derivative, own, memory, sizes, rules, parts, worker
):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    packs = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        load_solved(work, data, sizes, group * slots, slots, again, team)
        load_cotangents(work, answer, cotangents, sizes, group * slots, slots, team)
        differentiate(work, rules, sizes, team)
        store_derivative(derivative, work, sizes, group * slots, slots, team)
        store_gradients(own, derivative, group * slots, slots)
        again, group = True, claim(parts)  # pyright: ignore[reportCallIssue]
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def differentiate_sifted(
    data, answer, cotangents, derivative, own, memory, room, sizes, rules, parts, boxes, hired
):
    """The same without rows of G that do not bind; where that was wrong, again with all of them."""
    arguments = (data, answer, cotangents, derivative, own, memory, room, sizes, rules, parts)
    together(differentiate_kept, arguments, boxes, hired)


@kernel
def differentiate_kept(
    data, answer, cotangents, derivative, own, memory, room, sizes, rules, parts, worker
):
    """A worker's part of it."""
    team, slots, kept = team_of_one(), slots_in(memory.block), for_worker(room, worker)
    packs = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        first, pending, attempt = group * slots, True, 0
        kept.pending[:] = True
        while pending:
            most = sift(kept, data, answer, sizes, first, slots, attempt > 0, team)
            some = sizes_of_kept(sizes, most)
            work = carve(packs, some.n, some.m, some.p, some.rows)
            load_kept(work, data, kept, some, first, slots, team)
            load_kept_cotangents(work, answer, cotangents, kept, some, first, slots, team)
            differentiate(work, rules, some, team)
            pending = store_kept(derivative, answer, work, data, kept, some, first, slots, team)
            attempt += 1
        store_gradients(own, derivative, first, slots)
        group = claim(parts)  # pyright: ignore[reportCallIssue]
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def differentiate_duals(
    data, answer, cotangents, derivative, own, memory, done, sizes, rules, parts, boxes, hired
):
    """The same in the dual form, where there is one, which is noted in `done`.

    Kept workspaces hold problems as `solve_duals` left them, with their factors.
    """
    arguments = (data, answer, cotangents, derivative, own, memory, done, sizes, rules, parts)
    together(differentiate_duals_of_groups, arguments, boxes, hired)


@kernel
def differentiate_duals_of_groups(
    data, answer, cotangents, derivative, own, memory, done, sizes, rules, parts, worker
):
    """A worker's part of it."""
    team, slots, again = team_of_one(), slots_in(memory.block), False
    work = work_of_dual(memory, worker, sizes)
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        first = group * slots
        known = False
        if memory.kept:
            work = work_of_dual(memory, group, sizes)
            known = work.system.dual.known[SOUND] > 0
        else:
            if load_solved(work, data, sizes, first, slots, again, team):
                factor_matrices(work, rules.delta, rules.rho, sizes, team)
            fix_equal_limits(work.qp, sizes, team)
        done[group] = known or any_lane(has_inverse(work.system.dual, rules.rho, sizes, team))
        if done[group]:
            load_cotangents(work, answer, cotangents, sizes, first, slots, team)
            if known:
                differentiate_known(work, rules, sizes, team)
            else:
                differentiate_prepared(work, rules, sizes, team)
            store_derivative(derivative, work, sizes, first, slots, team)
            store_gradients(own, derivative, first, slots)
        again, group = not memory.kept, claim(parts)  # pyright: ignore[reportCallIssue]
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def differentiate_wholes(
    cotangents, derivative, own, kept, memory, done, sizes, rules, parts, boxes, hired
):
    """The same by the factors that `solve_duals` has kept, where they serve, noted in `done`."""
    arguments = (cotangents, derivative, own, kept, memory, done, sizes, rules, parts)
    together(differentiate_wholes_of_groups, arguments, boxes, hired)


@kernel
def differentiate_wholes_of_groups(
    cotangents, derivative, own, kept, memory, done, sizes, rules, parts, worker
):
    """A worker's part of it."""
    team, slots = team_of_one(), slots_in(memory.block)
    packs = as_packs(kept)  # pyright: ignore[reportCallIssue]
    mine = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    room = carve_room(mine, sizes.n, sizes.m, sizes.p)
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        first = group * slots
        for slot in range(min(slots, len(done) - first)):
            done[first + slot] = kept[group, SOUND, slot] > 0
        if any_lane(packs[group, SOUND] > 0):  # else it may not even know of rows
            load_room(room, cotangents, first, slots, team)
            differentiate_whole(packs, group, room, rules, sizes)
            store_room(derivative, room, first, slots, team)
            store_gradients(own, derivative, first, slots)
        group = claim(parts)  # pyright: ignore[reportCallIssue]
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
    group = claim(parts)  # pyright: ignore[reportCallIssue]
    while group < parts[COUNT]:
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        relax(work, mu, close, parameters, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)
        again, group = True, claim(parts)  # pyright: ignore[reportCallIssue]


@compiled
def outer_products(out, scale, a, b, c, d, shift, size, parts, boxes, hired):
    """Gradients of a matrix; so many problems make a part."""
    together(outer_products_of_part, (out, scale, a, b, c, d, shift, size, parts), boxes, hired)


@kernel
def outer_products_of_part(out, scale, a, b, c, d, shift, size, parts, worker):
    """A worker's part of it."""
    part = claim(parts)  # pyright: ignore[reportCallIssue]
    while part < parts[COUNT]:
        for k in range(part * size, min((part + 1) * size, len(out))):
            store_sum(out, scale, a, b, c, d, k, shift)
        part = claim(parts)  # pyright: ignore[reportCallIssue]
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def measure_range(data, answer, places, out, room, parts, boxes, hired):
    """Measure the answers of the problems at `places`, exactly, into rows of `out`."""
    together(measure_part, (data, answer, places, out, room, parts), boxes, hired)


@kernel
def measure_part(data, answer, places, out, room, parts, worker):
    """A worker's part of it."""
    k = claim(parts)  # pyright: ignore[reportCallIssue]
    while k < parts[COUNT]:
        measures = measure(data, answer, room[worker], places[k])
        for i in range(len(measures)):
            out[k, i] = measures[i]
        k = claim(parts)  # pyright: ignore[reportCallIssue]
