"""Python's operators on symbolic values: `x * w + b` makes nodes of a graph, by `pybp.ops`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np


def _ops() -> Any:
    from pybp import ops  # most models do without

    return ops


def _no_value(kind: str) -> str:
    return (
        f"a symbolic value has no {kind}: it is computed later, in one native call, for many inputs"
    )


# NumPy's name of what an operator between an array and something else calls -> ours.
ARRAY_OPERATORS = {
    **{name: name for name in ("add", "subtract", "multiply", "power", "matmul", "remainder")},
    **{name: name for name in ("floor_divide", "less", "less_equal", "greater", "greater_equal")},
    **{name: name for name in ("equal", "not_equal", "divide")},
    **{f"bitwise_{name}": f"logical_{name}" for name in ("and", "or", "xor")},
}
OTHER_NAMES = {"absolute": "abs", "fabs": "abs", "rint": "round", "invert": "logical_not"}


class Symbolic:
    """Base of `graph.Node`, `graph.Parameter` and `Input`, which stands for its `node`: what stands
    for numbers that are not known yet.

    Arithmetic, comparisons, `&`, `|`, `~`, `abs`, `@`, indexing, `.T`, `.reshape(...)`,
    `.sum(axis)` and so on make new nodes. Only whether two symbolic values are equal is asked by
    `bp.ops.equal`: `==` is what Python asks when it looks for one in a list, and refuses to guess.
    """

    __hash__ = object.__hash__
    shape: tuple[int, ...]
    node: Any

    def __add__(self, other: Any) -> Any:
        return _ops().add(self, other)

    def __radd__(self, other: Any) -> Any:
        return _ops().add(other, self)

    def __sub__(self, other: Any) -> Any:
        return _ops().subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return _ops().subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return _ops().multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _ops().multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return _ops().divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _ops().divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _ops().floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _ops().floor_divide(other, self)

    def __mod__(self, other: Any) -> Any:
        return _ops().remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return _ops().remainder(other, self)

    def __pow__(self, other: Any) -> Any:
        return _ops().power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return _ops().power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return _ops().matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _ops().matmul(other, self)

    def __neg__(self) -> Any:
        return _ops().negative(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return _ops().abs(self)

    def __round__(self, digits: int | None = None) -> Any:
        unit = 10.0 ** (digits or 0)
        return _ops().round(self * unit) / unit if digits else _ops().round(self)

    def __lt__(self, other: Any) -> Any:
        return _ops().less(self, other)

    def __le__(self, other: Any) -> Any:
        return _ops().less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return _ops().greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return _ops().greater_equal(self, other)

    def __eq__(self, other: object) -> Any:
        return _ops().equal(self, other) if _is_number(other) else _same(self, other, "==")

    def __ne__(self, other: object) -> Any:
        return _ops().not_equal(self, other) if _is_number(other) else not _same(self, other, "!=")

    def __and__(self, other: Any) -> Any:
        return _ops().logical_and(self, other)

    def __rand__(self, other: Any) -> Any:
        return _ops().logical_and(other, self)

    def __or__(self, other: Any) -> Any:
        return _ops().logical_or(self, other)

    def __ror__(self, other: Any) -> Any:
        return _ops().logical_or(other, self)

    def __xor__(self, other: Any) -> Any:
        return _ops().logical_xor(self, other)

    def __rxor__(self, other: Any) -> Any:
        return _ops().logical_xor(other, self)

    def __invert__(self) -> Any:
        return _ops().logical_not(self)

    def __getitem__(self, index: Any) -> Any:
        return _ops().index(self, index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "a symbolic value cannot be changed: make a new one, for instance by "
            "bp.ops.where(condition, then, otherwise) or bp.ops.concatenate"
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a symbolic value of shape () has no length")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    @property
    def ndim(self) -> int:
        """How many axes a row has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape)

    def flatten(self) -> Any:
        """`bp.ops.ravel`."""
        return _ops().ravel(self)

    @property
    def T(self) -> Any:  # noqa: N802  NumPy's name
        """The axes of a row in reverse."""
        return _ops().transpose(self)

    def reshape(self, *shape: Any) -> Any:
        """The same numbers in another shape: `bp.ops.reshape`."""
        return _ops().reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        """The axes of a row in another order: `bp.ops.transpose`."""
        return _ops().transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """`bp.ops.sum`."""
        return _ops().sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """`bp.ops.mean`."""
        return _ops().mean(self, axis, keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """`bp.ops.var`."""
        return _ops().var(self, axis, ddof, keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        """`bp.ops.std`."""
        return _ops().std(self, axis, ddof, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """`bp.ops.max`."""
        return _ops().max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """`bp.ops.min`."""
        return _ops().min(self, axis, keepdims)

    if not TYPE_CHECKING:  # to which it would say that there is everything

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(_missing(type(self).__name__, name), name=name, obj=self)

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        raise TypeError(_instead_of(function.__name__))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """An array's operators are ours; NumPy's functions are not."""
        name = ARRAY_OPERATORS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise TypeError(_instead_of(ufunc.__name__))
        return getattr(_ops(), name)(*inputs)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{_no_value('truth value')}. A branch that depends on a value is written "
            "bp.ops.where(condition, then, otherwise); `and`, `or`, `not` as bp.ops.logical_and, "
            "logical_or, logical_not; max and min as bp.ops.maximum and minimum"
        )

    def __float__(self) -> NoReturn:
        raise TypeError(
            f"{_no_value('number to convert')}. Use the functions of bp.ops instead of those of "
            "`math`, and make arrays that have it as an element by bp.ops.stack"
        )

    __int__ = __float__

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        raise TypeError(
            f"{_no_value('number to print')}. Without a format, {{x}}, its node is shown; print "
            "numbers outside the function, from what it returns"
        )

    def __index__(self) -> NoReturn:
        raise TypeError(
            f"{_no_value('index')}. Numbers that say how often or where, such as those of range(), "
            "axes and shapes, come from outside the function; bp.ops.take reads at computed places"
        )

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{_no_value('array')}. Use the functions of bp.ops instead of NumPy's: bp.ops.exp(x) "
            "for np.exp(x)"
        )


def _missing(kind: str, name: str) -> str:
    """What to write instead of an attribute of arrays."""
    said = f"{kind!r} object has no attribute {name!r}"
    if name.startswith("_") or not hasattr(np.ndarray, name):
        return said
    if name in ("astype", "dtype"):
        return (
            f"{said}: a symbolic value is as precise as the model, or the arguments of the function"
        )
    if name in _ops().FUNCTIONS:
        return f"{said}: write bp.ops.{name}(x, ...)"
    return f"{said}: {_no_value('array')}. Use the functions of bp.ops"


def _instead_of(name: str) -> str:
    """What to write instead of NumPy's function."""
    said = f"{_no_value('array')}. Use the functions of bp.ops instead of NumPy's"
    ours = ARRAY_OPERATORS.get(name) or OTHER_NAMES.get(name, name)
    known = hasattr(_ops(), ours)
    return f"{said}: bp.ops.{ours} for np.{name}" if known else f"{said}: there is none of {name}"


def _same(a: Symbolic, b: object, operator: str) -> bool:
    """Whether they are the same object, which is all that is known of two values."""
    if a is not b and isinstance(b, Symbolic):
        raise TypeError(
            f"{_no_value('truth value')}, so `{operator}` of two of them is not known: "
            "bp.ops.equal and bp.ops.not_equal compare them, and a branch is written "
            "bp.ops.where(bp.ops.equal(x, y), then, otherwise)"
        )
    return a is b


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic | list)
