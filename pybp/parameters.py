"""A model's parameters as training sees them: which are frozen, and what their average is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pybp.checks import boolean
from pybp.errors import unknown
from pybp.graph import Parameter, topological
from pybp.layers import Layer

if TYPE_CHECKING:
    from pybp.calls import Origin
    from pybp.model import Model
    from pybp.network import Step
    from pybp.optim import Optimizer
    from pybp.store import ParameterStore


def _by_layer(model: Model) -> dict[str, list[Parameter]]:
    """The parameters of every layer that has some."""
    found: dict[str, list[Parameter]] = {}
    for node in topological(model._outputs):
        if node.parameters:
            found.setdefault(node.layer, []).extend(node.parameters)
    return found


def frozen(model: Model) -> list[str]:
    """Names of the layers whose parameters do not train."""
    layers = _by_layer(model).items()
    return [name for name, own in layers if not any(p.trainable for p in own)]


def set_frozen(model: Model, names: Iterable[str]) -> None:
    """Freeze these layers and no others; the plans that train are made anew."""
    layers = _by_layer(model)
    names = set(names)
    if not names <= layers.keys():
        raise unknown("layer with parameters", min(names - layers.keys()), layers)
    for name, own in layers.items():
        for p in own:
            p.trainable = name not in names
    for key in [key for key in model._plans if key[0] == "train"]:
        del model._plans[key]


def _origins(step: Step) -> Iterator[Origin]:
    """The models that a layer was taken from, one out of the other, and its names there."""
    found = step.origin
    while found is not None:
        yield found
        of, name = found
        found = next(other.origin for other in of.network.steps if other.name == name)


def inherit_frozen(model: Model) -> None:
    """What is frozen in the models that layers were taken from is frozen in this one."""
    origins = {step.name: step.origin for step in model.network.steps if step.origin}
    theirs = {
        of: {p.name: p.trainable for own in _by_layer(of).values() for p in own}
        for of in {of for of, _ in origins.values()}
    }
    for layer, own in _by_layer(model).items() if origins else ():
        step = layer.split(".")[0]
        if step in origins:
            of, name = origins[step]
            for p in own:
                p.trainable = theirs[of][name + p.name[len(step) :]]


def _source(step: Step) -> Origin | None:
    """The compiled model that a layer was taken from, and its name there."""
    return next((pair for pair in _origins(step) if pair[0]._store is not None), None)


def inherits(model: Model) -> bool:
    """Whether layers were taken from compiled models."""
    return any(_source(step) for step in model.network.steps)


def inherit(model: Model, store: ParameterStore) -> None:
    """Values for the layers that were taken from compiled models, out of those."""
    for step in model.network.steps:
        found = _source(step)
        if found is None:
            continue
        of, name = found
        theirs = {**of.parameters, **of.buffers}
        ours = {own: store.view(own) for own in store.parameters} | store.buffers
        for own, view in ours.items():
            if own.startswith(f"{step.name}."):
                view[...] = theirs[name + own[len(step.name) :]]


def _layer_names(model: Model, given: tuple[object, ...]) -> set[str]:
    """Of layers with parameters: by name, as objects, or all that were taken from a model."""
    found: set[str] = set()
    known = _by_layer(model).keys()
    for one in given:
        if isinstance(one, str):
            parts = {name for name in known if name.startswith(f"{one}.")}
            found |= parts if parts and one not in known else {one, *parts}
            continue
        own = {
            step.name
            for step in model.network.steps
            if step.layer is one or any(of is one for of, _ in _origins(step))
        }
        if not own:
            what = f"layer {one!r}" if isinstance(one, Layer) else f"{type(one).__name__} like that"
            raise ValueError(
                f"the model has no {what} in it: freeze and unfreeze take the names of layers, "
                "layers, and models that were called as layers of it"
            )
        own |= {name for name in known if name.split(".")[0] in own}
        found |= own if len(own) == 1 else own & known
    return found


def freeze(model: Model, given: tuple[object, ...], trainable: bool) -> None:
    """See `Model.freeze`."""
    what = "unfreeze" if trainable else "freeze"
    if not given:
        raise TypeError(f"{what} needs the name of a layer, for instance {what}('dense0')")
    names = _layer_names(model, given)
    with model._exclusive(what, in_callback=True):
        before = set(frozen(model))
        unknown_names = names - _by_layer(model).keys()
        if unknown_names:
            raise unknown("layer with parameters", min(unknown_names), _by_layer(model))
        set_frozen(model, before - names if trainable else before | names)


def check_trainable(model: Model) -> None:
    """Is there something to train? Asked when a training plan is made."""
    if not _by_layer(model):
        raise ValueError("the model has no parameters to train: add a layer such as bp.Dense")
    if not any(p.trainable for own in _by_layer(model).values() for p in own):
        raise ValueError(
            "every layer is frozen, so there is nothing to train: "
            f"model.unfreeze({min(_by_layer(model))!r}), or another layer"
        )


def check_in_place(model: Model) -> None:
    """Are the parameters those of the training?"""
    if model.progress.swapped:
        raise RuntimeError(
            "the model holds its averaged parameters: put those of the training back with "
            "model.use_averaged_parameters(False), or compile anew to go on from the average"
        )


def average_weights(
    model: Model, steps: int, ends: Callable[[int], np.ndarray]
) -> np.ndarray | None:
    """Weights of the average at so many steps to come, which end these epochs (from 1)."""
    store, optimizer, at = model._store, model._optimizer, model.progress
    assert store is not None and optimizer is not None
    if optimizer.average is None or store.average is None:
        return None
    if at.averaged == 0:
        store.average[:] = store.vector
    return optimizer.average.weights(at.averaged, at.step + 1 + np.arange(steps), ends(steps))


def use_average(model: Model, use: object) -> None:
    """See `Model.use_averaged_parameters`."""
    use = boolean(use, "use_averaged_parameters: use")
    store = model._require("use_averaged_parameters")
    with model._exclusive("use_averaged_parameters"):
        if store.average is None:
            raise RuntimeError(
                "no average is kept: compile with an optimiser that has one, for instance "
                "bp.optim.Adam(average=bp.optim.EMA(0.999)), and train"
            )
        if use and model.progress.averaged == 0:
            raise RuntimeError(
                "nothing has gone into the average yet: train first, with SWA beyond its start"
            )
        if use != model.progress.swapped:
            store.vector[:], store.average[:] = store.average.copy(), store.vector.copy()
            model.progress.swapped = use


def check_tensors(
    model: Model, found: dict[str, np.ndarray], dtype: str, optimizer: Optimizer
) -> None:
    """Are these the tensors of this model? Asked before any memory is taken for them."""
    nodes = topological(model._outputs)
    suffixes = ["", *(f"@state{k}" for k in range(optimizer.state_vectors()))]
    suffixes += ["@average"] if optimizer.average else []
    wanted = {
        p.name + suffix: (p.shape, dtype)
        for node in nodes
        for p in node.parameters
        for suffix in suffixes
    }
    wanted |= {r.name: (r.shape, "float64") for node in nodes for r in node.running}
    if wanted.keys() != found.keys():
        odd = ", ".join(sorted(wanted.keys() ^ found.keys()))
        raise ValueError(f"tensors that are missing, or do not belong to it: {odd}")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype.name) != wanted[name]:
            shape, kind = wanted[name]
            raise ValueError(
                f"tensor {name} is {tensor.dtype} {tensor.shape} instead of {kind} {shape}"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"tensor {name} holds NaN or infinite values")
