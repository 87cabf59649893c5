"""Derivatives of functions: `bp.grad`, `bp.value_and_grad` and their kin.

A function is called once for every signature (shapes and precision of its arguments) with symbolic
values; the graph that it makes is lowered to a plan like that of a model, and every call after that
is one native run. Within a function that is traced, derivatives are nodes of its graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pybp import ops as _ops
from pybp.checks import ANY, whole
from pybp.graph import Node, Parameter, topological
from pybp.init import Constant
from pybp.lower import lower
from pybp.ops.symbols import as_node
from pybp.request import Request
from pybp.store import ParameterStore
from pybp.trees import Tree, flatten, is_symbolic

Function = Callable[..., Any]
ops: Any = _ops

MOST_PASSES = 1024  # of derivatives within a function


class _TakesSymbolicValuesFromOutside(Exception):  # noqa: N818  it says where to go on
    """A function that is traced reads values of another one that is being traced."""


class _Argument(Parameter):
    """A symbolic argument, which stands for something as long as the function is being traced."""

    over = False


class Traced:
    """A function with arguments of one signature: its graph, its plan, and memory for a call."""

    def __init__(self, tree: Tree, leaves: list[np.ndarray], dtype: np.dtype) -> None:
        self.dtype = dtype
        self.parameters = [_Argument(f"x{i}", x.shape, Constant()) for i, x in enumerate(leaves)]
        self.nodes = [
            ops.not_equal(p, 0.0) if x.dtype == bool else as_node(p, "grad")  # known as a mask
            for p, x in zip(self.parameters, leaves, strict=True)
        ]
        self.arguments = tree.unflatten(self.nodes)
        self.wanted: list[list[int]] = []  # leaves of the arguments to differentiate by
        self.forms: list[Tree] = []  # of these arguments
        self.out: tuple[int, ...] = ()
        self.lock = threading.Lock()

    @property
    def flat(self) -> list[int]:
        """All leaves to differentiate by."""
        return [i for part in self.wanted for i in part]

    def lower(
        self,
        value: Node,
        wanted: Sequence[int],
        keep: Sequence[Node] = (),
        seed: Parameter | None = None,
        wrt: Sequence[Node] = (),
    ) -> None:
        """Make the plan that computes `keep`, the gradient of a value by the wanted leaves, and
        those by `wrt`, which are looked at one by one: nothing is merged then."""
        own = self.parameters if seed is None else [*self.parameters, seed]
        known = {id(p) for p in own}
        for node in topological([value, *keep]):
            if node.op == "feed" or any(id(p) not in known for p in node.parameters):
                raise _TakesSymbolicValuesFromOutside
        self.store = ParameterStore(own, self.dtype)
        self.views = [self.store.view(p.name) for p in own]
        self.gradient = self.store.new_vector()
        still = {p.name for i, p in enumerate(own) if i not in wanted}
        request = Request(
            1,
            results=[Node("row_value", (value,), attrs={"mean": 0})],
            keep=list(keep),
            backward=bool(wanted),
            gradient=self.gradient,
            sources=0,
            still=frozenset(still),
            merge=not wrt,
            wrt=list(wrt),
        )
        lowered = lower(request, self.store)
        self.plan = lowered.plan
        self.tensors = [lowered.value(node) for node in keep]
        self.tensors += [lowered.gradients[id(node)] for node in wrt]

    def run(
        self, leaves: Sequence[np.ndarray], wanted: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What was kept, and the gradients by the wanted leaves."""
        with self.lock:
            for view, leaf in zip(self.views, leaves, strict=True):
                view[...] = leaf
            values = self.plan.once((), 1, self.tensors)
            found = [self.store.view(f"x{i}", self.gradient).copy() for i in wanted]
        return values, found


class Transform:
    """A function of arrays that is made of another one; keeps what it has traced, by signature."""

    def __init__(self, f: Function, what: str, argnums: int | Sequence[int] = 0) -> None:
        if not callable(f):
            raise TypeError(f"{what} takes a function, got {f!r}")
        self.f, self.what = f, what
        self.single = np.ndim(argnums) == 0
        numbers: Any = [argnums] if self.single else argnums
        self.argnums = tuple(whole(k, f"{what}: argnums", ANY) for k in numbers)
        self.traced: dict[tuple, Any] = {}
        self.__name__ = f"{what}({getattr(f, '__name__', 'function')})"
        self.__doc__ = f.__doc__

    def read(self, args: tuple, kwargs: dict) -> tuple[Tree, list[np.ndarray], np.dtype]:
        """The leaves of the arguments, and the precision that suits them."""
        tree, leaves = flatten((args, kwargs), self.what)
        floats = [leaf.dtype for leaf in leaves if leaf.dtype.kind == "f" and leaf.ndim]
        single = floats and all(dtype == np.float32 for dtype in floats)
        return tree, leaves, np.dtype(np.float32 if single else np.float64)

    def of(self, args: tuple, kwargs: dict) -> tuple[Any, list[np.ndarray]]:
        """What has been traced for such arguments, and their leaves."""
        tree, leaves, dtype = self.read(args, kwargs)
        key = (tree.key, dtype, tuple((leaf.shape, leaf.dtype == bool) for leaf in leaves))
        if key not in self.traced:
            traced = self.new(tree, leaves, dtype)
            traced.wanted = self.wanted(args)
            traced.forms = [flatten(args[k], self.what)[0] for k in self.argnums]
            try:
                self.trace(traced)
            finally:
                for argument in traced.parameters:
                    argument.over = True
            self.traced[key] = traced
        return self.traced[key], leaves

    def new(self, tree: Tree, leaves: list[np.ndarray], dtype: np.dtype) -> Traced:
        """Symbolic arguments."""
        return Traced(tree, leaves, dtype)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (is_symbolic(args) or is_symbolic(kwargs)):
            with suppress(_TakesSymbolicValuesFromOutside):
                return self.native(args, kwargs)
        return self.within(args, kwargs)

    def native(self, args: tuple, kwargs: dict) -> Any:
        """The answer for arrays."""
        raise NotImplementedError

    def within(self, args: tuple, kwargs: dict) -> Any:
        """The answer for symbolic values, as nodes."""
        raise TypeError(
            f"{self.what} within a function that is being traced: bp.grad, bp.value_and_grad, "
            "bp.jacobian and bp.jvp are for derivatives of derivatives"
        )

    def slopes(self, args: tuple, kwargs: dict) -> tuple[Node, Any]:
        """The value for symbolic arguments, and its derivatives in the form of the arguments: each
        [*shape of the value, *shape of the leaf], taken forward, a pass for every number."""
        tree, leaves = flatten((args, kwargs), self.what)
        wanted = self.wanted(args)
        for i in (i for part in wanted for i in part):
            # A node of its own: the same value that f takes from outside is another variable.
            leaves[i] = Node("identity", (as_node(leaves[i], self.what),))
        own_args, own_kwargs = tree.unflatten(leaves)
        value = symbolic_value(self.f(*own_args, **own_kwargs), self.what)
        parts = []
        for k, part in zip(self.argnums, wanted, strict=True):
            form = flatten(args[k], self.what)[0]
            parts.append(form.unflatten([slope(value, leaves[i], self.what) for i in part]))
        return value, parts[0] if self.single else tuple(parts)

    def wanted(self, args: tuple) -> list[list[int]]:
        """The leaves of every argument to differentiate by, as numbers."""
        leaves = [flatten(arg, self.what)[1] for arg in args]
        counts = [len(part) for part in leaves]
        found = []
        for k in self.argnums:
            at = k + len(args) if k < 0 else k
            if not 0 <= at < len(args):
                raise TypeError(
                    f"{self.what}: argnums={k}, but the function was called with {len(args)} "
                    "positional arguments"
                )
            if not any(is_symbolic(leaf) or leaf.dtype != bool for leaf in leaves[at]):
                raise TypeError(
                    f"{self.what}: argument {at} of type {type(args[at]).__name__} holds nothing "
                    "to differentiate by: give numbers or arrays of them, or name other arguments "
                    "(argnums)"
                )
            found.append(list(range(sum(counts[:at]), sum(counts[: at + 1]))))
        return found

    def trace(self, traced: Any) -> None:
        """Call the function with the symbolic arguments, and lower what comes of it."""
        raise NotImplementedError

    def call(self, traced: Traced) -> Any:
        """The function's value for symbolic arguments."""
        args, kwargs = traced.arguments
        return self.f(*args, **kwargs)

    def gradients(self, traced: Traced, found: list[np.ndarray]) -> Any:
        """Gradients in the form of the arguments."""
        left = iter(found)
        parts = []
        for form, wanted in zip(traced.forms, traced.wanted, strict=True):
            whole = (next(left) for _ in wanted)
            parts.append(form.unflatten([g.item() if g.ndim == 0 else g for g in whole]))
        return parts[0] if self.single else tuple(parts)


def slope(y: Node, x: Node, what: str) -> Node:
    """All derivatives of y by x, [*y.shape, *x.shape], as a node."""
    from pybp.tangents import push

    if x.size > MOST_PASSES:
        raise TypeError(
            f"{what} within a function that is being traced takes a pass for every number of its "
            f"argument, of which there are {x.size}, and at most {MOST_PASSES} are allowed: use "
            "bp.hvp, or bp.jvp along the directions that matter"
        )
    found = []
    for at in range(x.size):
        direction = np.zeros(x.size)
        direction[at] = 1.0
        along = push(y, {id(x): ops.constant(direction.reshape(x.shape))})
        found.append(_or_zeros(along, y))
    return ops.reshape(ops.stack(found, -1), (*y.shape, *x.shape))


def _or_zeros(tangent: Node | None, y: Node) -> Node:
    """A tangent of y; zeros if y does not change, be it infinite."""
    return ops.constant(np.zeros(y.shape)) if tangent is None else tangent


def value_of(value: Any, what: str) -> Node:
    """A function's value, an array."""
    if isinstance(value, tuple | list | dict):
        raise TypeError(
            f"{what} needs a function whose value is one array, got a {type(value).__name__}: "
            "return one of them, or put them together by bp.ops.stack or bp.ops.concatenate"
        )
    return as_node(value, what)


def symbolic_value(value: Any, what: str) -> Node:
    """The value of a function of symbolic values, all of which must still stand for something."""
    node = value_of(value, what)
    for parameter in (p for part in topological([node]) for p in part.parameters):
        if isinstance(parameter, _Argument) and parameter.over:
            raise TypeError(
                f"{what}: the function reads a symbolic value that was an argument of an earlier "
                "call, which is over: give it what it needs as an argument"
            )
    return node


def scalar(value: Any, what: str) -> Node:
    """A function's value, which must be one number."""
    node = value_of(value, what)
    if node.shape != ():
        if np.prod(node.shape) == 1:
            remedy = "take its only element, for instance by bp.ops.sum"
        else:
            remedy = "reduce it, for instance by bp.ops.sum, or use bp.jacobian"
        raise TypeError(f"{what} needs a function of one number, got shape {node.shape}: {remedy}")
    return node


class _Grad(Transform):
    with_value = False

    def trace(self, traced: Traced) -> None:
        value = scalar(self.call(traced), self.what)
        traced.lower(value, traced.flat, [value])

    def within(self, args: tuple, kwargs: dict) -> Any:
        value, slopes = self.slopes(args, kwargs)
        scalar(value, self.what)
        return (value, slopes) if self.with_value else slopes

    def native(self, args: tuple, kwargs: dict) -> Any:
        traced, leaves = self.of(args, kwargs)
        values, found = traced.run(leaves, traced.flat)
        gradients = self.gradients(traced, found)
        return (values[0].item(), gradients) if self.with_value else gradients


class _ValueAndGrad(_Grad):
    with_value = True


def grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The gradient of a function of one number's value, as a function of the same arguments.

    `f` is written with Python's operators and `bp.ops`; its arguments are numbers, arrays, and
    tuples, lists and dicts of them. `argnums` says by which to differentiate: a number gives that
    argument's gradient, a tuple a tuple of them. Work is in float64 unless all arrays are float32.

    `f` is called once for every kind of arguments, by shapes and precision: numbers and arrays that
    it takes from outside stay what they were at that call. Give what changes as an argument.

    Derivatives of derivatives are had by calling it within a function: `bp.grad(bp.grad(f))`. The
    inner ones are taken forward, a pass for each number of the argument.

    Reverse accumulation: Linnainmaa, BIT 16, 1976.

    >>> import numpy as np, pybp as bp
    >>> bp.grad(lambda x: x**3)(2.0)
    12.0
    >>> bp.grad(lambda w, x: bp.ops.sum(bp.ops.tanh(w * x)))(np.zeros(2), np.ones(2))
    array([1., 1.])

    Raises
    ------
    TypeError
        The value is no single number, or the function asks for a value while it is traced: a branch
        that depends on values is written with `bp.ops.where`.
    """
    return _Grad(f, "bp.grad", argnums)


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The value and the gradient, from one run: see `grad`.

    >>> import pybp as bp
    >>> bp.value_and_grad(lambda x: x * x)(3.0)
    (9.0, 6.0)
    """
    return _ValueAndGrad(f, "bp.value_and_grad", argnums)


class _Jacobian(Transform):
    def trace(self, traced: Traced) -> None:
        y = value_of(self.call(traced), self.what)
        traced.out = y.shape
        seed = Parameter("seed", y.shape, Constant())
        value = ops.sum(ops.multiply(y, seed))
        traced.lower(value, traced.flat, seed=seed)

    def within(self, args: tuple, kwargs: dict) -> Any:
        return self.slopes(args, kwargs)[1]

    def native(self, args: tuple, kwargs: dict) -> Any:
        traced, leaves = self.of(args, kwargs)
        rows: list[list[np.ndarray]] = []
        seed = np.zeros(traced.out)
        for at in np.ndindex(traced.out):
            seed[at] = 1.0
            rows.append(traced.run([*leaves, seed], traced.flat)[1])
            seed[at] = 0.0
        found = [
            np.stack(column).reshape(traced.out + column[0].shape)
            for column in zip(*rows, strict=True)
        ]
        return self.gradients(traced, found)


def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """All derivatives of an array-valued function: [*shape of the value, *shape of the argument].

    One plan, and one native run in reverse for each number of the value. See `grad`. The Hessian of
    a function of few numbers is `bp.jacobian(bp.grad(f))`; of many, see `hvp`.

    >>> import numpy as np, pybp as bp
    >>> bp.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return _Jacobian(f, "bp.jacobian", argnums)


class _Directional(Transform):
    """Of (x, v, *others): the derivatives of f(x, *others) along v."""

    def call(self, traced: Traced) -> Any:
        (x, _, *others), kwargs = traced.arguments
        return self.f(x, *others, **kwargs)

    def along(self, traced: Traced, value: Node) -> Node:
        """The derivative of the value along v, which has as many leaves as x."""
        from pybp.tangents import push

        count = len(traced.flat)
        directions = traced.nodes[count : 2 * count]
        given = {id(x): v for x, v in zip(traced.nodes[:count], directions, strict=True)}
        return _or_zeros(push(value, given), value)

    def check(self, args: tuple) -> None:
        """Is there a direction, and is it like x?"""
        if len(args) < 2:
            raise TypeError(f"{self.what} is called with x, a direction v, and f's other arguments")
        (tree, x), (own, v) = (flatten(arg, self.what) for arg in args[:2])
        if tree != own or [leaf.shape for leaf in x] != [leaf.shape for leaf in v]:
            shapes = [[leaf.shape for leaf in leaves] for leaves in (x, v)]
            raise ValueError(
                f"{self.what}: x and v must be alike, got shapes {shapes[0]} and {shapes[1]}"
            )

    def read(self, args: tuple, kwargs: dict) -> tuple[Tree, list[np.ndarray], np.dtype]:
        self.check(args)
        return super().read(args, kwargs)


class _Hvp(_Directional):
    def trace(self, traced: Traced) -> None:
        value = scalar(self.call(traced), self.what)
        traced.lower(self.along(traced, value), traced.flat)

    def native(self, args: tuple, kwargs: dict) -> Any:
        traced, leaves = self.of(args, kwargs)
        return self.gradients(traced, traced.run(leaves, traced.flat)[1])


def hvp(f: Function) -> Function:
    """The product of the Hessian of f with a vector, H(x) v, as a function of (x, v, *others),
    where f takes (x, *others) and its value is one number.

    The derivative along v is taken forward, in the graph, and its gradient in reverse: a few times
    the work of f, whatever the size of x. Pearlmutter, Neural Computation 6, 1994.

    >>> import numpy as np, pybp as bp
    >>> bp.hvp(lambda x: bp.ops.sum(x**3))(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    return _Hvp(f, "bp.hvp")


class _Jvp(_Directional):
    def trace(self, traced: Traced) -> None:
        value = value_of(self.call(traced), self.what)
        slope = self.along(traced, value)
        traced.lower(ops.sum(slope), (), [value, slope])

    def within(self, args: tuple, kwargs: dict) -> Any:
        from pybp.tangents import push

        self.check(args)
        self.wanted(args)
        (x, v, *others) = args
        form, leaves = flatten(x, self.what)
        nodes = [Node("identity", (as_node(leaf, self.what),)) for leaf in leaves]
        directions = [as_node(leaf, self.what) for leaf in flatten(v, self.what)[1]]
        value = symbolic_value(self.f(form.unflatten(nodes), *others, **kwargs), self.what)
        along = push(value, {id(n): d for n, d in zip(nodes, directions, strict=True)})
        return value, _or_zeros(along, value)

    def native(self, args: tuple, kwargs: dict) -> Any:
        traced, leaves = self.of(args, kwargs)
        value, slope = (a.item() if a.ndim == 0 else a for a in traced.run(leaves, ())[0])
        return value, slope


def jvp(f: Function) -> Function:
    """The value of f and its derivative along v, as a function of (x, v, *others), where f takes
    (x, *others): forward accumulation.

    >>> import pybp as bp
    >>> bp.jvp(lambda x: x**2)(3.0, 1.0)
    (9.0, 6.0)
    """
    return _Jvp(f, "bp.jvp")
