"""`pybp info`: what a model file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pybp as bp
from pybp.cli import screen
from pybp.cli.problem import class_names, feature_names

_MOST_NAMES = 12


def run(path: Path) -> None:
    """Layers, how the model was compiled, where its training stands, and its metadata."""
    model = bp.load(path)
    model.summary()
    state, cursor = model.state(), model.progress
    optimizer = dict(state["optimizer"])
    rate = optimizer.pop("learning_rate")
    rows = [
        ("file", f"{path}, {path.stat().st_size:,} bytes"),
        ("optimizer", _call(optimizer)),
        ("learning rate", _call(rate) if isinstance(rate, dict) else f"{rate:g}"),
        *_goals(state, model.network.names(model.network.outputs)),
        ("precision", str(state["dtype"])),
        ("seed", str(state["seed"])),
        ("optimizer state", f"{cursor.step:,} steps, {cursor.epoch:,} epochs"),
    ]
    names = {"class_names": class_names, "feature_names": feature_names}
    for key, value in sorted(model.metadata.items()):
        known = names[key](model.metadata) if key in names else None
        rows.append((key.replace("_", " "), value if known is None else _listed(known)))
    console = screen.out()
    console.print()
    console.print(screen.facts(rows))


def _goals(state: dict[str, Any], outputs: list[str]) -> list[tuple[str, str]]:
    """Losses and metrics, of each output by its name where there are several."""
    rows = []
    parts = zip(outputs, state["losses"], state["loss_weights"], state["metrics"], strict=True)
    for name, loss, weight, metrics in parts:
        of = f" of {name}" if len(outputs) > 1 else ""
        times = f"{weight:g} " if weight != 1 else ""
        rows.append((f"loss{of}", times + _call(loss, bp.losses.get)))
        known = ", ".join(_call(m, bp.metrics.get) for m in metrics)
        rows.append((f"metrics{of}", known or "none"))
    return rows


def _call(described: dict[str, Any], named: Callable[[object], Any] | None = None) -> str:
    """Plain data of an optimiser, a loss and so on, as a call: "adam(eps=1e-08)". What `named`
    makes of it knows the name that users give it."""
    arguments = dict(described)
    kind = arguments.pop("kind")
    kind = named(described).name if named else kind
    inside = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return f"{kind}({inside})" if inside else str(kind)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
