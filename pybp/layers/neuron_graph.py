"""Networks of single units with any acyclic connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pybp import init
from pybp.checks import boolean, real
from pybp.described import Described, to_data
from pybp.graph import OPS, Node
from pybp.layers.activation import Activation, activation_of, name_of, weight_init_for
from pybp.layers.topology import Topology, Unit, check_units, read_edges
from pybp.layers.trained import TrainedLayer

if TYPE_CHECKING:
    from typing import Unpack

    from pybp.layers.trained import Training

Function = tuple[str, float]  # an elementwise op and its argument


class NeuronGraph(TrainedLayer):
    """Units and the connections between them, any acyclic graph, skips included:

        s_j = b_j + sum over edges i -> j of w_ij y_i,     y_j = f_j(s_j),     y_i = x_i for inputs

    with the error signals delta_j = dLoss/ds_j = f'_j(s_j) sum over edges j -> k of w_jk delta_k.

    Units are numbers or names. Those without incoming edges are the inputs, one for each column of
    x; those without outgoing edges are the outputs, unless `outputs` says otherwise.

    Parameters
    ----------
    edges : list of (from, to) or (from, to, weight), or an array of such rows
        With an initial weight, where it is given. `weight` has shape [E], in this order.
    activations : str or `Activation`, or {unit: activation}
        f of all units but the inputs; a dict may also name inputs, which are linear otherwise, and
        leaves units that it does not name at "sigmoid". Any elementwise activation with a
        derivative.
    inputs, outputs : list of units, optional
        Their order; by default sorted, numbers in names by their value. `outputs` may name any
        units, of which every other unit must reach one.
    use_bias : bool
        `bias` has shape [H], of the units that are no inputs, in the order of `units`.
    weight_init : initialiser, its name, or a constant
        For weights that are not given. By default He, LeCun or Glorot by the activation of the unit
        that the edge leads to (as `Dense` does), with its number of incoming edges as fan-in.
    bias_init : initialiser, its name, a constant, or {unit: value}, which leaves others at 0
    **training
        weight_regularizer, bias_regularizer, learning_rate_factor, trainable: see
        `pybp.layers.TrainedLayer`.

    `units` lists all units in the order of computation: inputs first, then level by level.
    `model.activations(x)["NAME.units"]` and `model.gradients(x, y, deltas=True)["NAME.delta"]` have
    a column for each of them: `graph.column(unit)` says which.

    Raises
    ------
    ValueError, TypeError
        A cycle (its units are named in order), a unit that feeds itself, an edge given twice,
        units or activations that do not exist, a unit that reaches no output.

    Rumelhart, Hinton and Williams, Nature 323, 1986; Rojas, "Neural Networks", ch. 7, 1996.

    >>> import numpy as np, pybp as bp
    >>> graph = bp.NeuronGraph(  # XOR by one hidden unit and skips
    ...     [("a", "h"), ("b", "h"), ("a", "y"), ("b", "y"), ("h", "y")],
    ...     activations={"h": "tanh"},
    ... )
    >>> model = bp.Sequential([bp.Input(2), graph])
    >>> model.compile(bp.optim.Adam(0.1), loss="binary_cross_entropy", seed=1)
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = model.fit(x, y, epochs=400, batch_size=4, verbose=0)
    >>> (model.predict(x)[:, 0] > 0.5).tolist()
    [False, True, True, False]
    """

    def __init__(
        self,
        edges: Sequence[Sequence[Any]],
        activations: object = "sigmoid",
        inputs: Sequence[Unit] | None = None,
        outputs: Sequence[Unit] | None = None,
        use_bias: bool = True,
        weight_init: object = None,
        bias_init: object = 0.0,
        name: str | None = None,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(name, **training)
        self.edges, given = read_edges(edges)
        topology = Topology(self.edges, inputs, outputs)
        self.inputs, self.outputs = topology.inputs, topology.outputs
        self.activations, named = _activations(activations, topology)
        self.use_bias = boolean(use_bias, "NeuronGraph: use_bias")
        self.weight_init: init.Initializer | None = None
        if weight_init is not None:
            self.weight_init = init.get(weight_init, "NeuronGraph: weight_init")
        self._topology = topology
        functions = {unit: _function(f) for unit, f in named.items()}
        self._order = topology.order(functions)
        self._functions = [functions[unit] for unit in self._order]
        self._column = {unit: k for k, unit in enumerate(self._order)}
        self._given = given
        self._named = named
        self.bias_init = self._bias_init(bias_init)

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units in the order of computation."""
        return tuple(self._order)

    @property
    def unit_levels(self) -> np.ndarray:
        """Of each of `units`: 0 for inputs, else one more than the highest level that feeds it."""
        return self._topology.levels(self._order)

    def column(self, unit: Unit) -> int:
        """Which column of activations and error signals is this unit's."""
        check_units([unit], self._column, "column")
        return self._column[unit]

    def stored(self) -> dict:
        """The arguments as plain data: JSON has no keys that are numbers."""
        found = super().stored()
        for key in ("activations", "bias_init"):
            if isinstance(found[key], dict):
                found[key] = [[unit, _plain(value)] for unit, value in found[key].items()]
        return found

    def __repr__(self) -> str:
        if len(self.edges) <= 12:
            return super().__repr__()
        return f"NeuronGraph({len(self._order)} units, {len(self.edges)} edges)"

    def build(self, x: Node | None, name: str) -> Node:
        assert x is not None  # the model has put an Input first
        if x.shape != (len(self.inputs),):
            few = ", ".join(map(str, self.inputs[:6])) + (", ..." if len(self.inputs) > 6 else "")
            raise ValueError(
                f"layer {name!r}: the graph has {len(self.inputs)} input units ({few}), but layer "
                f"{x.layer!r} gives rows of shape {x.shape}; every column of a row is one unit's"
            )
        parameters = [self.weight(f"{name}.weight", (len(self.edges),), _Weights(self))]
        if self.use_bias:
            hidden = len(self._order) - len(self.inputs)
            parameters.append(self.bias(f"{name}.bias", (hidden,), _Biases(self)))
        ending = self._ending()
        functions = list(self._functions)
        for unit in self.outputs if ending else ():
            functions[self._column[unit]] = ("identity", 0.0)
        attrs = self._attrs(functions)
        values = Node("neurons", (x,), tuple(parameters), attrs, layer=name)
        columns = [self._column[unit] for unit in self.outputs]
        rows = Node("neurons_rows", (values,), attrs={"units": columns}, layer=name)
        return ending.build(rows, name) if ending else rows

    def inner(self, output: Node) -> dict[str, Node]:
        """All units' values."""
        rows = output if output.op == "neurons_rows" else output.inputs[0]
        values = rows.inputs[0]
        attrs = self._attrs(self._functions)
        whole = Node("neurons", values.inputs, values.parameters, attrs, layer=values.layer)
        every = {"units": list(range(len(self._order)))}
        return {"units": Node("neurons_rows", (whole,), attrs=every, layer=values.layer)}

    def _ending(self) -> Activation | None:
        """What all outputs apply, if it is the same and nothing else reads them: then it stands
        behind the graph, where losses and metrics find it as they do behind other layers."""
        first = self._functions[self._column[self.outputs[0]]]
        alike = all(self._functions[self._column[unit]] == first for unit in self.outputs)
        if not alike or any(self._topology.feeds(unit) for unit in self.outputs):
            return None
        function = self._named[self.outputs[0]]
        return function if isinstance(function, Activation) else Activation(function)

    def _attrs(self, functions: Sequence[Function]) -> dict[str, Any]:
        """The lists that `csrc/ops/neurons.c` describes."""
        table = {f: k for k, f in enumerate(dict.fromkeys(functions))}
        number = [table[f] for f in functions]
        ends = self._topology.ends(self._column)
        level = self.unit_levels
        level[: len(self.inputs)] = -1
        last = np.flatnonzero((np.diff(number) != 0) | (np.diff(level) != 0))
        run_ends = np.append(last + 1, len(number))
        runs = np.stack([run_ends, np.asarray(number)[run_ends - 1]], axis=1)
        rows = [(OPS[op]["number"], *np.array([argument]).view(np.int32)) for op, argument in table]
        return {
            "runs": runs.ravel(),
            "functions": np.ravel(rows),
            "incoming": _by_unit(ends[:, 1], ends[:, 0], len(number)),
            "outgoing": _by_unit(ends[:, 0], ends[:, 1], len(number)),
            "ends": ends.ravel(),
        }

    def _bias_init(self, given: object) -> init.Initializer | dict[Unit, float]:
        """An initialiser, or the units' values."""
        if isinstance(given, list | tuple):  # as a file has it
            given = dict(given)
        if not isinstance(given, dict) or (given.get("kind") in init.KINDS):
            return init.get(given, "NeuronGraph: bias_init")
        hidden = {unit: k for unit, k in self._column.items() if k >= len(self.inputs)}
        check_units(given, hidden, "bias_init", "has no bias: it is an input or does not exist")
        return {u: real(b, f"NeuronGraph: bias_init of unit {u!r}") for u, b in given.items()}


class _Weights(init.Initializer):
    """Weights as the edges give them, and drawn where they do not."""

    def __init__(self, graph: NeuronGraph) -> None:
        self._graph = graph

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        graph = self._graph
        ends = graph._topology.ends(graph._column)
        fan_in = np.bincount(ends[:, 1], minlength=len(graph.units))[ends[:, 1]]
        fan_out = np.bincount(ends[:, 0], minlength=len(graph.units))[ends[:, 0]]
        values = np.empty(shape)
        kinds = np.array([weight_init_for(f[0]) for f in graph._functions])[ends[:, 1]]
        for kind in sorted(set(kinds)) if graph.weight_init is None else [None]:
            chosen = kinds == kind if kind else np.full(shape, True)
            rule = init.get(kind, "NeuronGraph") if kind else graph.weight_init
            assert rule is not None
            count = int(chosen.sum())
            if hasattr(rule, "of_edges"):
                values[chosen] = rule.of_edges(rng, fan_in[chosen], fan_out[chosen])
            else:
                values[chosen] = rule(rng, (count, 1)).ravel()
        return np.where(np.isnan(graph._given), values, graph._given)


class _Biases(init.Initializer):
    """Biases by unit, or of an initialiser."""

    def __init__(self, graph: NeuronGraph) -> None:
        self._graph = graph

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        given, hidden = self._graph.bias_init, self._graph.units[-shape[0] :]
        if isinstance(given, dict):
            return np.array([given.get(unit, 0.0) for unit in hidden])
        return given(rng, shape)


def _activations(given: object, topology: Topology) -> tuple[Any, dict[Unit, str | Activation]]:
    """What was given, checked, and the activation of every unit."""
    if isinstance(given, list | tuple):  # as a file has it
        given = dict(given)
    by_unit = isinstance(given, Mapping) and given.get("kind") != "activation"
    found: dict[Unit, str | Activation] = dict.fromkeys(topology.units, "sigmoid")
    found |= dict.fromkeys(topology.inputs, "identity")
    if not by_unit:
        one = _activation(given, "NeuronGraph")
        hidden = [unit for unit in topology.units if unit not in topology.level_zero]
        return one, found | dict.fromkeys(hidden, one)
    assert isinstance(given, Mapping)
    check_units(given, found, "activations")
    named = {unit: _activation(f, f"NeuronGraph, unit {unit!r}") for unit, f in given.items()}
    return named, found | named


def _activation(given: object, what: str) -> str | Activation:
    """An elementwise activation with a derivative."""
    function = activation_of(given, what)
    name = name_of(function) or "identity"
    if name not in OPS:
        raise ValueError(
            f"{what}: units take activations by their names, such as 'tanh', and no functions, got "
            f"{given!r}"
        )
    if "elementwise" not in OPS[name]["flags"] or not OPS[name]["differentiable"]:
        raise ValueError(
            f"{what}: {name} is no function of one number with a derivative; give units one like "
            "'sigmoid', 'tanh' or 'relu', and put layers like bp.Activation('softmax') behind the "
            "graph"
        )
    return function if isinstance(function, Activation) else name


@cache
def _plain_activation(name: str) -> Activation:
    return Activation(name)


def _function(activation: str | Activation) -> Function:
    one = activation if isinstance(activation, Activation) else _plain_activation(activation)
    return name_of(one), next((getattr(one, key) for key in one._defaults), 0.0)


def _plain(value: object) -> object:
    return to_data(value) if isinstance(value, Described) else value


def _by_unit(own: np.ndarray, other: np.ndarray, units: int) -> np.ndarray:
    """Where each unit's edges begin, then (unit at the other end, edge), by unit and edge."""
    edge = np.argsort(own, kind="stable")
    start = np.concatenate(([0], np.cumsum(np.bincount(own, minlength=units))))
    return np.concatenate([start, np.stack([other[edge], edge], axis=1).ravel()])
