"""Numbers that threads count by together."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj


@intrinsic
def reserve(typing_context, numbers, place, count):
    """Add to numbers[place], as other threads do too; returned is what was there before."""

    def codegen(context, builder, sig, args):
        index, count = (context.cast(builder, args[k], sig.args[k], types.intp) for k in (1, 2))
        view = arrayobj.make_array(numbers)(context, builder, args[0])
        pointer = cgutils.get_item_pointer(context, builder, numbers, view, [index])
        return builder.atomic_rmw("add", pointer, count, "monotonic")

    return types.int64(numbers, place, count), codegen
