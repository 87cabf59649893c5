"""The compiler: lowers a graph of nodes to a plan, once per use of a model.

    prune     only what the roots depend on           (graph.topological)
    rewrite   drop ops that do nothing here, such as dropout at inference; fuse elementwise ops into
              the producer of their input
    fuse      optimisers into weight gradients
    emit      instructions forward, and backward in reverse; the first writer of a gradient stores
    join      convolutions with the pooling behind them
    place     every activation gets a place in one arena, shared by tensors that never live together

The result is data (`Lowered.describe()` prints it) that C checks again before it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pybp._core import Plan
from pybp.errors import NotAdaptedError
from pybp.graph import OPS, Node, Running, no_dead_ends, topological
from pybp.place import Tensor, place
from pybp.request import Lowered, Request
from pybp.rewrite import rewrite
from pybp.store import ParameterStore
from pybp.updates import Update

MERGING = {"expression", "broadcast", "matmul", "max_pool"}  # ops that `fuse.py` looks for
DERIVING = {"delta", "backward_in", "backward_param"}  # the phases that read a gradient


@dataclass
class _Lowering:
    request: Request
    store: ParameterStore
    tensors: list[Tensor] = field(default_factory=list)
    instructions: list[dict] = field(default_factory=list)
    values: dict[int, int] = field(default_factory=dict)
    saved: dict[int, int] = field(default_factory=dict)
    gradients: dict[int, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)  # running state
    affine: dict[int, int] = field(
        default_factory=dict
    )  # id(node) -> scale and shift of its columns
    writer: dict[int, dict] = field(default_factory=dict)  # id(node) -> who wrote its gradient last
    written: set[str] = field(default_factory=set)  # parameters whose gradient has a writer
    updated: set[str] = field(default_factory=set)  # ... that went straight to the optimiser
    several: set[str] = field(default_factory=set)  # parameters that several nodes read

    def run(self) -> Lowered:
        given = [*self.request.results, *self.request.keep, *self.request.wrt]
        given += [self.request.output] if self.request.output is not None else []
        self.request = merged(self.request)
        lowered = self.lowered()
        now = [*self.request.results, *self.request.keep, *self.request.wrt]
        now += [self.request.output] if self.request.output is not None else []
        for old, new in zip(given, now, strict=True):  # answers to questions about what was given
            self.values[id(old)] = self.values[id(new)]
            if id(new) in self.gradients:
                self.gradients[id(old)] = self.gradients[id(new)]
        return lowered

    def lowered(self) -> Lowered:
        r = self.request
        self.update = Update(self.store, r.rules)
        roots = [*r.results, *([r.output] if r.output is not None else []), *r.keep]
        self.order = topological(roots)
        self.number = {id(node): i for i, node in enumerate(self.order)}
        # Random numbers follow the layers that draw them, however the others are computed.
        drawing = [node for node in self.order if "random" in node.flags]
        self.stream = {id(node): i for i, node in enumerate(drawing)}
        self.several = sharing(self.order)
        self.graph = rewrite(self.order, roots, r.training, r.backward)
        for node in list(self.order):
            self.forward(node)
        nforward = len(self.instructions)
        if r.backward:
            self.backward()
            self.overwrite()
        self.join(nforward)
        act_bytes = self.place()
        plan = Plan(
            self.store.bits,
            r.capacity,
            [
                (t.arena, t.shape, t.batched, t.blocked, t.offset, t.double, t.group)
                for t in self.tensors
            ],
            self.instructions,
            nforward,
            act_bytes,
            self.store.vector,
            self.request.gradient,
            tuple(r.state),
            r.optimizer,
            tuple(self.values[id(node)] for node in r.results),
            self.values[id(r.output)] if r.output is not None else -1,
            self.readable_input(),
            r.sources,
            self.store.running,
            self.update.groups,
            (r.rules.clip_norm, r.rules.global_clip_norm),
            r.accumulate,
            r.average,
            r.weights,
            r.losses,
        )
        return Lowered(
            plan,
            self.order,
            self.values,
            self.gradients,
            self.instructions,
            self.tensors,
            {index: name for name, index in self.parameters.items()},
            act_bytes,
            self.request.gradient,
        )

    def tensor(self, arena: str, shape: tuple[int, ...], **how: bool | int) -> int:
        self.tensors.append(Tensor(len(self.tensors), arena, shape, **how))  # type: ignore[arg-type]
        return len(self.tensors) - 1

    def parameter(self, name: str) -> int:
        if name not in self.parameters:
            offset, shape = self.store.place(name)
            group = 0
            if self.request.optimizer:
                group = self.update.group(self.store.parameters[name])
            self.parameters[name] = self.tensor(
                "param", shape, batched=False, offset=offset, group=group
            )
        return self.parameters[name]

    def running(self, part: Running, layer: str) -> int:
        if part.required and not self.store.buffers[part.name].any():
            raise NotAdaptedError(
                f"layer {layer!r} does not know the data yet: call model.adapt(x) with the rows "
                "that the model is trained on"
            )
        if part.name not in self.kept:
            offset, shape = self.store.running_place(part.name)
            self.kept[part.name] = self.tensor(
                "running", shape, batched=False, double=True, offset=offset
            )
        return self.kept[part.name]

    # -- emit ---------------------------------------------------------------------------------

    def forward(self, node: Node) -> None:
        if node.op == "parameter":
            self.values[id(node)] = self.parameter(node.parameters[0].name)
            return
        other = self.graph.same.get(id(node), self.graph.host.get(id(node)))
        if other is not None:
            self.values[id(node)] = self.values[id(other)]
            return
        double = "per_row" in node.flags
        self.values[id(node)] = self.tensor(
            "act", node.shape, batched=node.batched, blocked=node.blocked, double=double
        )
        if node.saved and self.request.backward:
            self.saved[id(node)] = self.tensor("act", (node.saved,))
        if node.saved_once and self.request.backward:
            self.saved[id(node)] = self.tensor(
                "act", (node.saved_once,), batched=False, double=True
            )
        if id(node) in self.graph.folded:
            self.affine[id(node)] = self.scale_and_shift(self.graph.folded[id(node)])
        self.emit("forward", node)

    def scale_and_shift(self, norm: Node) -> int:
        """The tensor with what a batch normalisation does to its columns, made by an instruction of
        its own, so that it always is what the running statistics say."""
        attrs = {"eps": norm.attrs["eps"]}
        node = Node(
            "batch_norm_affine", (), norm.parameters, attrs, norm.layer, running=norm.running
        )
        self.order.append(node)
        self.number[id(node)] = len(self.order) - 1
        self.values[id(node)] = self.tensor("act", node.shape, batched=False)
        self.emit("forward", node)
        return self.values[id(node)]

    def emit(
        self, phase: str, node: Node, din: list[int] | None = None, add: list[bool] | None = None
    ) -> dict:
        inputs = [self.values[id(parent)] for parent in node.inputs]
        inputs += [self.running(r, node.layer) for r in node.running]
        inputs += [self.parameter(p.name) for p in node.parameters]
        fused = self.graph.fused.get(id(node)) if phase in {"forward", "delta"} else None
        instruction = {
            "phase": phase,
            "op": node.op,
            "node": self.number[id(node)],
            "stream": self.stream.get(id(node), 0),
            "attrs": node.attrs | ({"frozen": 1} if self.frozen(node) else {}),
            "in": inputs,
            "out": self.values[id(node)],
            "saved": self.saved.get(id(node), -1),
            "din": din or [-1] * len(inputs),
            "add": add or [False] * len(inputs),
            "dout": self.gradients.get(id(node), -1) if phase in DERIVING else -1,
            "activation": None if fused is None else (fused.op, fused.attrs),
            "fused_update": False,
            "joined": False,
            "affine": self.affine.get(id(node), -1),
            "affine_last": id(node) in self.graph.late,
        }
        self.instructions.append(instruction)
        self.touch(instruction)
        return instruction

    def touch(self, k: dict) -> None:
        """Extend the lives of an instruction's tensors to it."""
        now = len(self.instructions) - 1
        derives = k["phase"] in {"backward_in", "backward_param"}
        out = -1 if derives and "uses_y" not in OPS[k["op"]]["flags"] else k["out"]
        for index in {*k["in"], k["affine"], out, k["saved"], *k["din"], k["dout"]} - {-1}:
            t = self.tensors[index]
            t.first = now if t.first < 0 else t.first
            t.last = now

    def backward(self) -> None:
        """Reverse sweep from the losses, the first results."""
        losses = self.request.results[: len(self.request.losses)]
        asked = {id(node) for node in self.request.wrt}
        no_dead_ends(
            losses, lambda node: self.trains(node) or id(node) in asked, self.graph.same.keys()
        )
        needs, ends = self.needing_gradients(), {id(node) for node in losses}
        for node in reversed(self.order):
            if id(node) in ends or id(node) in self.gradients:
                self.differentiate(node, needs)
        for node in self.order:  # what does nothing has the gradient of what it stands for
            real = self.graph.real(node)
            if id(real) in self.gradients:
                self.gradients[id(node)] = self.gradients[id(real)]
        self.update_rest()
        for node in self.order:
            commits = OPS[node.op]["commits"] and not self.frozen(node)
            if self.request.optimizer and self.request.training and commits:
                self.emit("commit", node)

    def needing_gradients(self) -> set[int]:
        """Nodes that some parameter to be trained lies at or before, and those asked for."""
        needs: set[int] = {id(self.graph.real(node)) for node in self.request.wrt}
        for node in self.order:
            if self.trains(node) or any(id(parent) in needs for parent in self.inputs(node)):
                needs.add(id(node))
        return needs

    def inputs(self, node: Node) -> list[Node]:
        """The nodes that it reads, without those that do nothing."""
        return [self.graph.real(parent) for parent in node.inputs]

    def trains(self, node: Node) -> bool:
        """Whether the node's parameters get gradients: frozen ones only where they are asked for
        without an optimiser."""
        wanted = [p for p in node.parameters if p.name not in self.request.still]
        return any(p.trainable or not self.request.optimizer for p in wanted)

    def frozen(self, node: Node) -> bool:
        """Whether the node knows of freezing, as batch normalisation does, and is frozen."""
        stays = node.parameters and self.request.optimizer and not self.trains(node)
        return "frozen" in node.attrs and bool(stays)

    def differentiate(self, node: Node, needs: set[int]) -> None:
        if id(node) in self.graph.host:
            # The producer takes the gradient over, and turns it into its own error signal.
            self.gradients[id(self.graph.host[id(node)])] = self.gradients[id(node)]
            return
        self.signal(node)
        parents = self.inputs(node)
        weights = parents[node.flowing :]
        del parents[node.flowing :]
        padding = [-1] * (len(weights) + len(node.running) + len(node.parameters))
        # A node that is taken twice gets its gradients one after the other.
        use = [sum(p is parent for p in parents[:i]) for i, parent in enumerate(parents)]
        for turn in range(max(use, default=0) + 1):
            din, add = [], []
            for parent, when in zip(parents, use, strict=True):
                index, begun = self.place_for(parent, id(parent) in needs and when == turn)
                din.append(index)
                add.append(begun)
            if any(index >= 0 for index in din):
                k = self.emit("backward_in", node, din + padding, add + [False] * len(padding))
                for parent, index in zip(parents, din, strict=True):
                    if index >= 0:
                        self.writer[id(parent)] = k
        if any(id(weight) in needs for weight in weights):
            places = [self.place_for(weight, id(weight) in needs) for weight in weights]
            din = [-1] * len(parents) + [index for index, _ in places]
            add = [False] * len(parents) + [begun for _, begun in places]
            self.emit("backward_param", node, din, add)
            for weight in weights:
                self.writer.pop(id(weight), None)
        if self.trains(node) and node.op != "parameter":
            self.differentiate_parameters(node)

    def place_for(self, node: Node, wanted: bool) -> tuple[int, bool]:
        """The tensor of a node's gradient, or -1 where it is not wanted, and whether something is
        there already."""
        if not wanted:
            return -1, False
        if id(node) in self.gradients:
            return self.gradients[id(node)], True
        if node.op == "parameter":
            self.gradients[id(node)], begun = self.gradient_of(node.parameters[0].name)
            return self.gradients[id(node)], begun
        self.gradients[id(node)] = self.tensor(
            "act", node.shape, batched=node.batched, blocked=node.blocked
        )
        return self.gradients[id(node)], False

    def signal(self, node: Node) -> None:
        """Turns the gradient of an activated value into the error signal of what was activated: in
        the instruction that writes it last, where that can, and while it is in cache."""
        fused = self.graph.fused.get(id(node))
        last = self.writer.get(id(fused))
        if fused is None:
            if OPS[node.op]["signals"]:
                self.emit("delta", node)
        elif last and "chains" in OPS[last["op"]]["flags"]:
            last["activation"] = (fused.op, fused.attrs)
        else:
            self.emit("delta", node)

    def differentiate_parameters(self, node: Node) -> None:
        names = [p.name for p in node.parameters]
        frozen = [bool(self.request.optimizer) and not p.trainable for p in node.parameters]
        padding = [-1] * (len(node.inputs) + len(node.running))
        fuse = self.request.optimizer and self.request.fuse_update and "whole" not in node.flags
        if fuse and not any(frozen) and not self.shared(names):
            self.emit("backward_param", node)["fused_update"] = True
            self.updated.update(names)
            return
        din, add = [], []
        for name, skip in zip(names, frozen, strict=True):
            if skip:
                din.append(-1)
                add.append(False)
                continue
            gradient, begun = self.gradient_of(name)
            din.append(gradient)
            add.append(begun)
        self.emit("backward_param", node, padding + din, [False] * len(padding) + add)

    def gradient_of(self, name: str) -> tuple[int, bool]:
        """A parameter's place in the gradient vector, and whether something is there already."""
        if self.request.gradient is None:
            self.request = replace(self.request, gradient=self.store.new_vector())
        offset, shape = self.store.place(name)
        begun = self.request.accumulate or name in self.written
        self.written.add(name)
        return self.tensor("grad", shape, batched=False, offset=offset), begun

    def shared(self, names: list[str]) -> bool:
        """Whether another node reads one of these parameters too."""
        return not self.several.isdisjoint(names)

    def update_rest(self) -> None:
        """What is left of a step when all gradients are known."""
        if self.request.optimizer and self.request.update:
            average = self.request.average is not None
            trained = sorted(self.written | self.updated)
            self.instructions += self.update.instructions(self.written, trained, average)

    # -- place --------------------------------------------------------------------------------

    def readable_input(self) -> int:
        """The input tensor, when the user's own array could serve as it: gathered unscaled."""
        first = self.order[self.instructions[0]["node"]]
        plain = first.op == "feed" and first.attrs["scale"] == 1.0 and not first.running
        plain = plain and id(first) not in self.graph.folded and not first.blocked
        return self.values[id(first)] if plain and not self.request.backward else -1

    def wanted(self) -> set[int]:
        """The tensors that are looked at behind the last instruction."""
        r = self.request
        if r.keep:
            return {t.index for t in self.tensors}
        output = [] if r.output is None else [r.output]
        return {self.values[id(node)] for node in [*r.results, *output]}

    def join(self, nforward: int) -> None:
        """Convolutions may pool what they make, in an inference where nobody else reads it: the
        pool's output is then written while their input is read."""
        wanted, kept = self.wanted(), nforward < len(self.instructions)
        for now, (k, behind) in enumerate(pairwise(self.instructions[:nforward])):
            out = k["out"]
            pooled = (k["op"], behind["op"]) == ("conv", "max_pool") and behind["in"] == [out]
            if pooled and (kept or (self.tensors[out].last == now + 1 and out not in wanted)):
                k["joined"] = True
                self.tensors[behind["out"]].first = now

    def overwrite(self) -> None:
        """The gradient of an image that is averaged takes the image's place, which is read the last
        time while it is made: large tensors, and then half of them."""
        wanted = self.wanted()
        for now, k in enumerate(self.instructions):
            if (k["phase"], k.get("op")) != ("backward_in", "average_pool") or k["add"][0]:
                continue
            x, dx, attrs = self.tensors[k["in"][0]], self.tensors[k["din"][0]], k["attrs"]
            whole = (attrs["pool_h"], attrs["pool_w"]) == x.shape[1:]
            padded = any(attrs[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
            lives = x.arena != "act" or x.index in wanted or x.last > now
            if whole and not padded and not lives and dx.first == now:
                dx.over = x

    def place(self) -> int:
        """Places for the activations; the size of their arena in bytes."""
        wanted = self.wanted()
        for t in self.tensors:
            if t.arena == "act" and t.index in wanted:
                t.last = len(self.instructions)
        return place(self.tensors, self.request.capacity, self.store.bits // 8)


def sharing(roots: Sequence[Node]) -> set[str]:
    """The parameters that several nodes read."""
    users = [p.name for node in topological(roots) for p in node.parameters]
    return {name for name, count in Counter(users).items() if count > 1}


def merged(request: Request) -> Request:
    """The request with fewer, larger nodes."""
    nodes = topological(
        [*request.results, *request.keep, *([] if request.output is None else [request.output])]
    )
    if not any(node.op in MERGING for node in nodes):
        return request
    from pybp.fuse import merged  # most models have nothing to merge

    return merged(request)


def capacity_for(rows: int) -> int:
    """The capacity of a plan for batches of any size: powers of two, so that a model which is given
    a hundred sizes keeps a handful of plans."""
    return 1 << (rows - 1).bit_length()


def lower(request: Request, store: ParameterStore) -> Lowered:
    """The plan that does what is requested with the store's parameters."""
    return _Lowering(request, store).run()
