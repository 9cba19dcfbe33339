"""The CPU's compiled loops for gradients, as those of solves in `loops.py`.

`own` is where gradients go of what each problem has for itself.
"""

from qpcore.compilation import compiled
from qpcore.crew import COUNT, claim, together, workspace_of
from qpcore.kernels.adjoint import differentiate, differentiate_prepared, store_derivative
from qpcore.kernels.by_factor import (
    carve_room,
    differentiate_known,
    differentiate_whole,
    load_room,
    store_room,
)
from qpcore.kernels.dual import factor_matrices, has_inverse
from qpcore.kernels.kept import load_kept, load_kept_cotangents, sizes_of_kept, store_kept
from qpcore.kernels.known import SOUND
from qpcore.kernels.machine import any_lane, kernel, team_of_one
from qpcore.kernels.outer import (
    fetch,
    store_gradients,
    store_gradients_together,
    store_sum,
    wait_for_stores,
)
from qpcore.kernels.packed import as_elements, as_numbers, as_packs, slots_in
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.sift import for_worker, sift
from qpcore.kernels.transfer import load_cotangents, load_solved
from qpcore.kernels.whole import rows_kept, size_of
from qpcore.kernels.workspace import carve
from qpcore.loops import work_of_dual

# Factors of groups that take so many lines of the cache on average, 32 KB, are asked for while the
# group before them is at work, of which they probably have the size: 0.31 microseconds a problem of
# 10 by 10 instead of 0.41. Larger ones come fast enough by themselves, line after line.
MOST_AHEAD = 512


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
    group = claim(parts)
    while group < parts[COUNT]:
        load_solved(work, data, sizes, group * slots, slots, again, team)
        load_cotangents(work, answer, cotangents, sizes, group * slots, slots, team)
        differentiate(work, rules, sizes, team)
        store_derivative(derivative, work, sizes, group * slots, slots, team)
        store_gradients(own, derivative, group * slots, slots)
        again, group = True, claim(parts)
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
    group = claim(parts)
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
        group = claim(parts)
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
    group = claim(parts)
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
        again, group = not memory.kept, claim(parts)
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
    packs = as_packs(kept.packs)  # pyright: ignore[reportCallIssue]
    elements = as_elements(workspace_of(memory, worker))  # pyright: ignore[reportCallIssue]
    room = carve_room(elements, sizes.n, sizes.m, sizes.p)
    lines = as_numbers(room.lines)  # pyright: ignore[reportCallIssue]
    few = packs.shape[0] <= MOST_AHEAD * parts[COUNT]
    group = claim(parts)
    while group < parts[COUNT]:
        first, begin, following = group * slots, kept.begins[group], group
        if few:
            following = claim(parts)
        mine, soon = packs[begin:], packs[kept.begins[min(following, parts[COUNT] - 1)] :]
        for slot in range(min(slots, len(done) - first)):
            done[first + slot] = kept.packs[begin + SOUND, slot] > 0
        if any_lane(mine[SOUND] > 0):  # else it may not even know of rows
            ahead = size_of(sizes, rows_kept(mine)) if few else 0
            fetch_quarter(soon, ahead, 0)
            load_room(room, cotangents, first, slots, team)
            fetch_quarter(soon, ahead, 1)
            differentiate_whole(mine, room, rules, sizes)
            fetch_quarter(soon, ahead, 2)
            store_room(derivative, room, first, slots, team)
            fetch_quarter(soon, ahead, 3)
            store_gradients_together(own, derivative, lines, first, slots)
        group = following if few else claim(parts)
    wait_for_stores()  # pyright: ignore[reportCallIssue]


@kernel(inline=True)
def fetch_quarter(packs, count, quarter):
    """Ask for a quarter of so many packs, as what is at work leaves time for."""
    for place in range(count * quarter // 4, count * (quarter + 1) // 4):
        fetch(packs, place)  # pyright: ignore[reportCallIssue]


@compiled
def outer_products(out, scale, a, b, c, d, shift, size, parts, boxes, hired):
    """Gradients of a matrix; so many problems make a part."""
    together(outer_products_of_part, (out, scale, a, b, c, d, shift, size, parts), boxes, hired)


@kernel
def outer_products_of_part(out, scale, a, b, c, d, shift, size, parts, worker):
    """A worker's part of it."""
    part = claim(parts)
    while part < parts[COUNT]:
        for k in range(part * size, min((part + 1) * size, len(out))):
            store_sum(out, scale, a, b, c, d, k, shift)
        part = claim(parts)
    wait_for_stores()  # pyright: ignore[reportCallIssue]
