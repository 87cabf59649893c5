"""The end of a training step: which parameters are treated alike, and the instructions that clip,
update, constrain and average them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from pybp.graph import Parameter
from pybp.store import ParameterStore

Group = tuple[float, float, float, float, float, float]
PLAIN: Group = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Rules(NamedTuple):
    """What an optimiser does to all parameters besides its own arithmetic; zeros do nothing.

    `weight_decay` is of parameters with at least two dimensions, so of weights, and not of biases
    or of the scales and shifts of normalisation.
    """

    weight_decay: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    global_clip_norm: float = 0.0

    @property
    def measures(self) -> bool:
        """Whether a norm must be known, and so a whole gradient, before anything is updated."""
        return self.clip_norm > 0 or self.global_clip_norm > 0


NO_RULES = Rules()


class Update:
    """Gives parameters their groups and writes the last instructions of a step."""

    def __init__(self, store: ParameterStore, rules: Rules) -> None:
        self.store, self.rules = store, rules
        self.groups: list[Group] = [PLAIN]  # as pb_group of csrc/pybp.h has them

    def group(self, p: Parameter) -> int:
        """Index of the parameter's group, a new one for a treatment that has none."""
        decay = self.rules.weight_decay if len(p.shape) > 1 else 0.0
        wanted = (p.learning_rate_factor, decay, p.l1, p.l2, self.rules.clip_value, p.max_norm)
        if wanted not in self.groups:
            self.groups.append(wanted)
        return self.groups.index(wanted)

    def instructions(self, pending: set[str], trained: Iterable[str], average: bool) -> list[dict]:
        """Of one step. `pending` are the parameters whose gradient lies in the gradient vector,
        `trained` all that are updated, there or before."""
        parameters = self.store.parameters
        waiting = [p for name, p in parameters.items() if name in pending]
        found = []
        if self.rules.measures:
            found += [self._over(p, "measure", slot) for slot, p in enumerate(waiting)]
            found.append(_instruction("clip", (0, 0)))
            found += [self._over(p, "update", slot) for slot, p in enumerate(waiting)]
        else:
            found += self._merged(waiting)
        limited = [parameters[name] for name in trained if parameters[name].max_norm > 0]
        found += [self._over(p, "constrain", row=math.prod(p.shape[1:])) for p in limited]
        if average:
            found.append(_instruction("average", (0, self.store.vector.size)))
        return found

    def _over(self, p: Parameter, phase: str, slot: int = -1, row: int = 0) -> dict:
        return _instruction(phase, self.store.span(p.name), self.group(p), slot, row)

    def _merged(self, waiting: list[Parameter]) -> list[dict]:
        """One update for all neighbours of the same group: the gaps between them hold zeros."""
        found: list[dict] = []
        names = list(self.store.parameters)
        previous = -2
        for p in waiting:
            number = names.index(p.name)
            update = self._over(p, "update")
            if number == previous + 1 and found[-1]["group"] == update["group"]:
                found[-1]["range"] = (found[-1]["range"][0], update["range"][1])
            else:
                found.append(update)
            previous = number
        return found


def _instruction(
    phase: str, span: tuple[int, int], group: int = 0, slot: int = -1, row: int = 0
) -> dict:
    return {"phase": phase, "node": 0, "range": span, "group": group, "slot": slot, "row": row}
