"""Checks that users and the test-suite share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pybp.model import Model


@dataclass
class GradCheck:
    """Result of `gradcheck`: the largest relative error, and that of each parameter."""

    error: float
    errors: dict[str, float]


def gradcheck(
    model: Model,
    x: object,
    y: object,
    *,
    tolerance: float = 1e-6,
    entries: int = 40,
    directions: int = 3,
    seed: int = 0,
) -> GradCheck:
    """Compare `model.gradients(x, y)` with central differences of the loss.

    For each parameter: the `entries` largest gradients and as many at random are checked one by
    one, and `directions` random directions v check <g, v> over all entries at once. The error is
    |g - d| / max(|g|, |d|, floor), where the floor forgives entries that are tiny beside the
    parameter's largest, since differences cannot resolve them.

    The model must be float64, and its parameters are as before afterwards.

    Raises
    ------
    AssertionError
        When an error exceeds `tolerance`; it names the parameter, the entry and both values.
    """
    if model.dtype != np.float64:
        raise ValueError("gradcheck needs a model compiled with dtype='float64'")
    rng = np.random.default_rng(seed)
    gradients = {name: np.array(g) for name, g in model.gradients(x, y).items()}
    errors = {}
    for name, gradient in gradients.items():
        view = model.parameters[name]
        probes = _probes(gradient, rng, entries, directions)
        scale = float(np.abs(gradient).max(initial=0.0))
        errors[name] = max(
            (_error(model, x, y, name, view, gradient, v, scale, tolerance) for v in probes),
            default=0.0,
        )
    return GradCheck(max(errors.values(), default=0.0), errors)


def _probes(
    gradient: np.ndarray, rng: np.random.Generator, entries: int, directions: int
) -> list[np.ndarray]:
    """Directions to differentiate along: single entries, then dense random ones."""
    flat = np.abs(gradient).ravel()
    chosen = set(np.argsort(flat)[-entries:].tolist())
    chosen |= set(rng.integers(0, flat.size, min(entries, flat.size)).tolist())
    probes = []
    for index in sorted(chosen):
        v = np.zeros(gradient.shape)
        v.flat[index] = 1.0
        probes.append(v)
    for _ in range(directions):
        v = rng.normal(size=gradient.shape)
        probes.append(v / np.linalg.norm(v))
    return probes


def _error(
    model: Model,
    x: object,
    y: object,
    name: str,
    view: np.ndarray,
    gradient: np.ndarray,
    v: np.ndarray,
    scale: float,
    tolerance: float,
) -> float:
    before = view.copy()

    def loss(step: float) -> float:
        view[...] = before + step * v
        return model.evaluate(x, y)["loss"]

    try:
        size = float(np.abs(before[v != 0]).max(initial=0.0))
        return _compared(loss, size, name, gradient, v, scale, tolerance)
    finally:
        view[...] = before


def _compared(
    value: Callable[[float], float],
    size: float,
    name: str,
    gradient: np.ndarray,
    v: np.ndarray,
    scale: float,
    tolerance: float,
) -> float:
    """The relative error of <gradient, v> beside differences of value(step), steps being along v;
    AssertionError when it is beyond the tolerance."""
    # Two central differences, combined so that their errors of third order cancel.
    h = 1e-4 * max(1.0, size)
    above, below = value(h), value(-h)
    far = (value(2 * h) - value(-2 * h)) / (4 * h)
    numeric = (4 * (above - below) / (2 * h) - far) / 3
    # A few units in the last place of the values are what they cannot tell apart.
    rounding = 4 * float(np.finfo(np.float64).eps) * max(abs(above), abs(below)) / h
    analytic = float((gradient * v).sum())
    floor = max(1e-3 * scale, 1e-10)
    apart = max(abs(analytic - numeric) - rounding, 0.0)
    if not np.isfinite([analytic, numeric]).all():
        apart = np.inf
    error = apart / max(abs(analytic), abs(numeric), floor)
    if not error <= tolerance:
        where = np.unravel_index(int(np.abs(v).argmax()), v.shape)
        at = f"[{', '.join(map(str, where))}]" if v.ndim else ""
        at = at if np.count_nonzero(v) == 1 else " along a direction"
        raise AssertionError(
            f"gradient of {name}{at} is {analytic:.12g}, differences say {numeric:.12g}: "
            f"relative error {error:.2g} > {tolerance:g}"
        )
    return error


def check_grad(
    f: Callable[..., object],
    *args: object,
    tolerance: float = 1e-6,
    entries: int = 40,
    directions: int = 3,
    seed: int = 0,
) -> GradCheck:
    """Compare `bp.grad(f)` with central differences of f at these arguments, which are taken as
    float64: every number of all of them, as `gradcheck` does it for a model's parameters.

    >>> import numpy as np, pybp as bp
    >>> bp.testing.check_grad(lambda x: bp.ops.sum(bp.ops.sin(x) / x), np.ones(3)).error < 1e-6
    True
    >>> def forgetful(x):
    ...     return x * bp.ops.stop_gradient(x)
    >>> bp.testing.check_grad(forgetful, 2.0)
    Traceback (most recent call last):
    AssertionError: gradient of argument 0 is 2, differences say 4: relative error 0.5 > 1e-06

    Raises
    ------
    AssertionError
        When an error exceeds `tolerance`.
    """
    from pybp.autodiff import value_and_grad
    from pybp.trees import flatten

    rng = np.random.default_rng(seed)
    tree, leaves = flatten(args, "check_grad")
    leaves = [leaf.astype(np.float64) for leaf in leaves]
    derive = value_and_grad(f, tuple(range(len(args))))
    _, gradients = flatten(derive(*tree.unflatten(leaves))[1], "check_grad")
    errors = {}
    for k, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        name = f"argument {k}"

        def value(step: float, k: int, v: np.ndarray) -> float:
            moved = [x + step * v if i == k else x for i, x in enumerate(leaves)]
            return derive(*tree.unflatten(moved))[0]

        scale = float(np.abs(gradient).max(initial=0.0))
        errors[name] = 0.0
        for v in _probes(gradient, rng, entries, directions):
            size = float(np.abs(leaf[v != 0]).max(initial=0.0))
            along = partial(value, k=k, v=v)
            error = _compared(along, size, name, gradient, v, scale, tolerance)
            errors[name] = max(errors[name], error)
    return GradCheck(max(errors.values(), default=0.0), errors)
