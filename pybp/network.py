"""The graph of layers that a model is: which layer is called on the outputs of which.

A model is made of calls (`pybp.calls`): it settles the layers' names in topological order and
builds nodes of its own. So one layer object may stand in any number of models, each with parameters
of its own, and a layer that is called twice in one model has one set of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pybp._core import MAX_SOURCES
from pybp.calls import Call, Origin, Use, node_of, ordered, taken, uses_of
from pybp.errors import unknown
from pybp.graph import Node
from pybp.layers.base import Layer, building
from pybp.layers.input import Input
from pybp.layouts import as_given, given_shape

if TYPE_CHECKING:
    from pybp.model import Model


@dataclass(eq=False, repr=False)
class Step:
    """One use of a layer in a model. `name` is the layer's, `label` that of this use: the same, but
    for later uses name[1], name[2] and so on. `inputs` are the steps before whose outputs it
    takes."""

    name: str
    label: str
    layer: Layer
    inputs: tuple[int, ...]
    node: Node
    origin: Origin | None = None


@dataclass(eq=False, repr=False)
class Network:
    """A model's steps, each after its inputs; which of them are where arrays enter, in the order of
    the arrays, and which are its outputs."""

    steps: list[Step]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def layers(self) -> list[Layer]:
        """Every layer once."""
        return list({id(step.layer): step.layer for step in self.steps}.values())

    @property
    def is_chain(self) -> bool:
        """Whether every step takes the one before and no other, so that a list says it all."""
        before = [step.inputs for step in self.steps]
        return before == [(), *((i,) for i in range(len(before) - 1))] and self.outputs == (
            len(before) - 1,
        )

    @property
    def calls(self) -> list[list[Any]]:
        """Which layer, by its place in `layers`, each step calls on which steps before."""
        number = {id(layer): i for i, layer in enumerate(self.layers)}
        return [[number[id(step.layer)], list(step.inputs)] for step in self.steps]

    def nodes(self, which: Sequence[int]) -> list[Node]:
        return [self.steps[i].node for i in which]

    def names(self, which: Sequence[int]) -> list[str]:
        return [self.steps[i].label for i in which]


# -- calling ---------------------------------------------------------------------------------------


def call(layer: Layer, given: object, origin: Origin | None = None) -> Node:
    """See `Layer.__call__`."""
    nodes = taken(layer, given)
    whole = building()
    if whole is not None:
        return as_given(_built(layer, nodes, whole.name_of(layer)))
    try:
        node = _built(layer, nodes, layer.name or layer.default_name())
    except ValueError as error:
        mistake = _in_a_model(layer, nodes, error)
        raise mistake from mistake.__cause__
    node = as_given(node)
    node.call = Call(layer, nodes, origin)
    return node


def _in_a_model(layer: Layer, nodes: Sequence[Node], mistake: ValueError) -> ValueError:
    """The mistake in calling the layer again, now that names matter: as a model would name them."""
    uses, index = uses_of(ordered(nodes))
    try:
        settle([*uses, (layer, tuple(index[id(n)] for n in nodes), None)], {})
    except ValueError as named:
        return named
    return mistake


def _built(layer: Layer, nodes: Sequence[Node], name: str) -> Node:
    """The layer's output; one that does nothing still has a node of its own."""
    x = None if not nodes else list(nodes) if layer.merges else nodes[0]
    node = layer.build(x, name)  # type: ignore[arg-type]
    return Node("identity", (node,), layer=name) if any(node is n for n in nodes) else node


def apply(model: Model, given: object) -> Node | list[Node]:
    """See `Model.__call__`: the model's calls again, on other inputs."""
    if building() is not None and model._store is not None:
        raise ValueError(
            "a compiled model cannot be called while a layer is built, for its parameters would "
            "not come along: call it on the layer's input or output"
        )
    network = model.network
    ends = [network.steps[i] for i in network.inputs]
    wanted = [step.label for step in ends]
    several = isinstance(given, list | tuple)
    parts = list(given) if isinstance(given, list | tuple) else [given]
    if isinstance(given, Mapping):
        if set(given) != set(wanted):
            raise ValueError(f"the model's inputs are {wanted}, got {sorted(map(str, given))}")
        parts = [given[name] for name in wanted]
    if len(parts) != len(wanted):
        raise ValueError(
            f"the model takes {len(wanted)} inputs, "
            + ", ".join(f"{step.label!r} of shape {given_shape(step.node)}" for step in ends)
            + f"; got {len(parts)}"
        )
    new: dict[int, Node] = {}
    for i, part in zip(network.inputs, parts, strict=True):
        what = f"input {network.steps[i].label!r} of the model" if several else "the model's input"
        new[i] = _replacing(network.steps[i].node, node_of(part, what))
    for i, step in enumerate(network.steps):
        if i not in new:
            new[i] = _again(model, step, [new[j] for j in step.inputs])
    outputs = [new[i] for i in network.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


def _again(model: Model, step: Step, inputs: list[Node]) -> Node:
    """A step of a model on other inputs; a constant has none."""
    if inputs:
        return call(step.layer, inputs, (model, step.name))
    node = _built(step.layer, (), step.name)
    node.call = Call(step.layer, ())
    return node


def part(model: Model, wanted: Sequence[str]) -> tuple[list[Node], list[Node]]:
    """See `Model.part`: inputs and outputs of a model of the calls that these layers need."""
    network = model.network
    number = {step.label: i for i, step in enumerate(network.steps)}
    if not wanted:
        raise TypeError("part needs the name of a layer, for instance part('dense0')")
    for name in wanted:
        if name not in number:
            raise unknown("layer of the model", name, number)
    needed = {number[name] for name in wanted}
    for i in reversed(range(len(network.steps))):
        if i in needed:
            needed |= set(network.steps[i].inputs)
    new: dict[int, Node] = {}
    for i in sorted(needed):
        step = network.steps[i]
        if i in network.inputs:
            new[i] = node_of(step.layer, step.label)
        else:
            new[i] = _again(model, step, [new[j] for j in step.inputs])
    return [new[i] for i in network.inputs if i in new], [new[number[name]] for name in wanted]


def _replacing(feed: Node, node: Node) -> Node:
    """`node`, where it can stand for the input of a model that is used as a layer."""
    axes = {feed.layout, node.layout}
    if given_shape(node) != given_shape(feed) or (all(axes) and len(axes) > 1):
        wanted, got = (f"{given_shape(n)}{n.layout and f', {n.layout}'}" for n in (feed, node))
        raise ValueError(
            f"input {feed.layer!r} of the model has rows of shape {wanted}, but the output of "
            f"layer {labels([node])[0]!r} has {got}"
        )
    scale = feed.attrs["scale"]
    given = node.call.layer if node.call else None
    if scale != 1.0 and not (isinstance(given, Input) and given.scale == scale):
        raise ValueError(
            f"input {feed.layer!r} of the model scales by {scale:g}, and the output of layer "
            f"{labels([node])[0]!r} is not so scaled: give that scale to the outer bp.Input"
        )
    return node


# -- settling --------------------------------------------------------------------------------------


def settle(
    uses: Sequence[Use], sources: Mapping[int, int], from_models: bool = False
) -> list[Step]:
    """The steps with their names and nodes; `sources` says which array an input reads, and
    `from_models` that any layer may have come from a model, as is not known of those of a file."""
    names = _names(uses, from_models)
    steps: list[Step] = []
    count: dict[str, int] = {}
    known: dict[str, tuple[Any, Node]] = {}
    for number, (layer, inputs, origin) in enumerate(uses):
        name = names[id(layer)]
        nodes = [steps[i].node for i in inputs]
        node = _built(layer, nodes, name)
        if number in sources:
            node.attrs["source"] = sources[number]
        _share(node, nodes, known)
        use = count[name] = count.get(name, -1) + 1
        steps.append(Step(name, f"{name}[{use}]" if use else name, layer, inputs, node, origin))
    return steps


def _share(node: Node, inputs: Sequence[Node], known: dict) -> None:
    """Let the nodes of a layer that is used again have the parameters that it has already."""
    ends = {id(n) for n in inputs}
    stack, seen = [node], set(ends)
    while stack:
        own = stack.pop()
        if id(own) in seen:
            continue
        seen.add(id(own))
        parts: list[Any] = [*own.parameters, *own.running]
        for part in parts:
            other, first = known.setdefault(part.name, (part, inputs[0] if inputs else node))
            if other.shape != part.shape:
                here = given_shape(inputs[0] if inputs else node)
                if first is (inputs[0] if inputs else node):
                    raise ValueError(
                        f"layer {own.layer!r} has two parameters named {part.name}, of shapes "
                        f"{other.shape} and {part.shape}: give each a name of its own"
                    )
                raise ValueError(
                    f"layer {own.layer!r} is called on rows of shape {given_shape(first)}, from "
                    f"{first.layer!r}, and on rows of shape {here}, from {inputs[0].layer!r}, but "
                    f"has one {part.name} for both: it would have to be {other.shape} and "
                    f"{part.shape}"
                )
        own.parameters = tuple(known[p.name][0] for p in own.parameters)
        own.running = tuple(known[r.name][0] for r in own.running)
        stack.extend(own.inputs)


def labels(nodes: Sequence[Node]) -> list[str]:
    """What a model of these nodes would call their layers, where they are outputs of layers."""
    try:
        order = ordered(nodes)
    except ValueError:  # they are parts of one
        return [node.layer for node in nodes]
    uses, index = uses_of(order)
    names = _names(uses)
    return [names[id(uses[index[id(node)]][0])] for node in nodes]


def _names(uses: Sequence[Use], from_models: bool = False) -> dict[int, str]:
    """A name for every layer, by id: its own, or the first of kind0, kind1, ... that is free. One
    that comes from a model gives up its own where that is taken, and is name_1, name_2, ..."""
    own = {layer.name for layer, _, _ in uses}
    found: dict[int, str] = {}
    taken: set[str] = set()
    for layer, _, origin in uses:
        if id(layer) in found:
            continue
        name = layer.name
        if name is None or (name in taken and (origin or from_models)):
            stem, i = (layer.default_name(), 0) if name is None else (f"{name}_", 1)
            while f"{stem}{i}" in own or f"{stem}{i}" in taken:
                i += 1
            name = f"{stem}{i}"
        if name in taken:
            raise ValueError(f"two layers are named {name!r}: names must differ")
        taken.add(name)
        found[id(layer)] = name
    return found


# -- networks --------------------------------------------------------------------------------------


def chain(layers: Sequence[Layer]) -> Network:
    """Layers one after another."""
    uses: list[Use] = [(layer, (i - 1,) if i else (), None) for i, layer in enumerate(layers)]
    return Network(settle(uses, {0: 0}), (0,), (len(layers) - 1,))


def traced(inputs: object, outputs: object) -> Network:
    """All that lies between inputs and outputs; ValueError where they do not fit together."""
    ins = [_fed(part, f"inputs[{i}]") for i, part in enumerate(_listed(inputs))]
    outs = [node_of(part, f"outputs[{i}]") for i, part in enumerate(_listed(outputs))]
    if not ins or not outs:
        raise ValueError("a model needs at least one input and one output")
    if len(ins) + len(outs) >= MAX_SOURCES:
        raise ValueError(
            f"a model has at most {MAX_SOURCES - 1} inputs and outputs together, got "
            f"{len(ins)} and {len(outs)}"
        )
    order = ordered([*ins, *outs])
    uses, index = uses_of(order)
    names = _names(uses)
    label = {id(n): names[id(uses[index[id(n)]][0])] for n in order}
    _check_ends(ins, outs, order, label)
    sources = {index[id(n)]: k for k, n in enumerate(ins)}
    return Network(
        settle(uses, sources),
        tuple(index[id(n)] for n in ins),
        tuple(index[id(n)] for n in outs),
    )


def restored(layers: Sequence[Layer], calls: Any, inputs: Any, outputs: Any) -> Network:
    """The network of a model that was stored: `calls` are as `Network.calls` has them."""
    uses: list[Use] = []
    for number, (layer, steps) in enumerate(calls):
        before = tuple(_index(i, number) for i in steps)
        made = layers[_index(layer, len(layers))]
        begins = isinstance(made, Input) or getattr(made, "op", "") == "constant"
        if begins != (not before) or (len(before) > 1 and not made.merges):
            raise ValueError(f"call {number} has {len(before)} inputs")
        uses.append((made, before, None))
    ins, outs = ([_index(i, len(uses)) for i in part] for part in (inputs, outputs))
    fed = [i for i, (layer, _, _) in enumerate(uses) if isinstance(layer, Input)]
    if sorted(ins) != fed or not outs or len(set(outs)) < len(outs):
        raise ValueError("its inputs and outputs do not fit its calls")
    if len(ins) + len(outs) >= MAX_SOURCES or len({id(uses[i][0]) for i in ins}) < len(ins):
        raise ValueError("it has too many inputs and outputs")
    steps = settle(uses, {i: k for k, i in enumerate(ins)}, from_models=True)
    return Network(steps, tuple(ins), tuple(outs))


def _index(value: object, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
        raise ValueError(f"{value!r} is no number below {end}")
    return value


def _listed(given: object) -> list[object]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _fed(value: object, what: str) -> Node:
    node = node_of(value, what)
    if node.call is None or not isinstance(node.call.layer, Input):
        raise ValueError(
            f"{what} must be a bp.Input, got the output of layer {node.layer!r}; a model begins "
            "where arrays enter"
        )
    return node


def _check_ends(
    ins: Sequence[Node], outs: Sequence[Node], order: Sequence[Node], label: Mapping[int, str]
) -> None:
    """Is every input given once, and used? Is every output computed from them?"""
    given = [id(n) for n in ins]
    for i, node in enumerate(ins):
        if id(node) in given[:i]:
            raise ValueError(f"inputs[{i}] is {label[id(node)]!r} a second time")
    for i, node in enumerate(outs):
        if any(node is other for other in outs[:i]):
            raise ValueError(f"outputs[{i}] is the output of {label[id(node)]!r} a second time")
        if isinstance(node.call.layer, Input):  # type: ignore[union-attr]
            raise ValueError(
                f"outputs[{i}] is input {label[id(node)]!r} itself: a model has at least one layer "
                "behind it"
            )
    used: set[int] = {id(n) for node in order for n in node.call.inputs}  # type: ignore[union-attr]
    for node in order:
        if isinstance(node.call.layer, Input) and id(node) not in given:  # type: ignore[union-attr]
            reader = next(n for n in _behind(node, order) if any(n is out for out in outs))
            raise ValueError(
                f"output {label[id(reader)]!r} depends on {label[id(node)]!r}, a bp.Input of shape "
                f"{given_shape(node)} that is not among the model's inputs: add it to the list"
            )
    for node in ins:
        if id(node) not in used:
            raise ValueError(
                f"no output depends on input {label[id(node)]!r} of shape {given_shape(node)}: "
                "leave it out, or connect it"
            )


def _behind(node: Node, order: Sequence[Node]) -> list[Node]:
    """All nodes that depend on this one, in order."""
    found = {id(node)}
    for n in order:
        if any(id(parent) in found for parent in n.call.inputs):  # type: ignore[union-attr]
            found.add(id(n))
    return [n for n in order if id(n) in found and n is not node]
