"""What `pybp.plots` draws on the axes of a figure, and the data that it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pybp._gallery import Curve
    from pybp.finder import RateSearch
    from pybp.landscape import Line

Curves = Mapping[str, Sequence[float]]

# Okabe and Ito's blue and vermillion, and grey: told apart with any kind of colour vision.
BLUE, VERMILLION, GREY, INK = "#0072B2", "#D55E00", "#9A9A9A", "#222222"
_PALE, _LINE = "#F3D9C8", "#E6E6E6"
LEARNING_RATE = "learning rate"  # the name of its curve
_NAME_LENGTH = 14  # characters of a class's name
_LABEL_LENGTH = 40  # characters of an axis's name


class Answers(NamedTuple):
    """Class numbers (N,) and what they are called; `confidence` (N,) in what was said."""

    true: NDArray[np.int64]
    said: NDArray[np.int64]
    names: list[str]
    confidence: NDArray[Any] | None = None

    def mistakes(self, count: int) -> NDArray[np.intp]:
        """Rows of at most `count` mistakes, the most confident first."""
        wrong = np.flatnonzero(self.true != self.said)
        if self.confidence is not None:
            wrong = wrong[np.argsort(-self.confidence[wrong], kind="stable")]
        return wrong[:count]


def answers(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_names: Sequence[str] | None,
    confidence: ArrayLike | None = None,
) -> Answers:
    """The arguments of a plot of classes, checked."""
    true, said = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or true.shape != said.shape or not len(true):
        raise ValueError(
            "y_true and y_pred must be class numbers (N,) of the same rows, "
            f"got shapes {true.shape} and {said.shape}"
        )
    if true.dtype.kind not in "iu" or said.dtype.kind not in "iu":
        raise TypeError(
            f"y_true and y_pred must be whole class numbers, got {true.dtype} and {said.dtype}; "
            "probabilities (N, C) become classes with argmax(axis=1)"
        )
    true, said = true.astype(np.int64), said.astype(np.int64)
    lowest, highest = min(true.min(), said.min()), max(true.max(), said.max())
    names = [str(i) for i in range(highest + 1)] if class_names is None else list(class_names)
    if lowest < 0 or highest >= len(names):
        raise ValueError(
            f"class numbers run from {lowest} to {highest}, but there are {len(names)} class names"
        )
    sure = None if confidence is None else np.asarray(confidence, float)
    if sure is not None and sure.shape != true.shape:
        raise ValueError(f"confidence must have shape {true.shape}, got {sure.shape}")
    return Answers(true, said, [_short(name) for name in names], sure)


def _short(name: str, most: int = _NAME_LENGTH) -> str:
    name = str(name)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")  # which would start mathematics


def _bare(axes: Axes, title: str) -> None:
    """No frame but two axes, and a title at the left."""
    axes.set_title(title, fontsize=11, color=INK, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", labelsize=9, color=GREY, labelcolor=INK)


def curve(axes: Axes, curves: Curves, name: str) -> None:
    """A loss or metric over the epochs, in training and in validation, or the learning rate."""
    from matplotlib.ticker import MaxNLocator

    training, validation = curves.get(name, []), curves.get(f"val_{name}", [])
    lines = [("training", training, GREY if validation else BLUE)] if training else []
    if validation:
        lines.append(("validation", validation, BLUE))
    for label, values, colour in lines:
        marker = "o" if len(values) < 3 else ""
        epochs = np.arange(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, marker=marker, linewidth=1.8, label=label)
    if name in ("loss", LEARNING_RATE):
        _logarithmic_if_wide(axes, np.concatenate([values for _, values, _ in lines]))
    _bare(axes, name)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    _lines_behind(axes)
    if name != LEARNING_RATE:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _lines_behind(axes: Axes) -> None:
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def activation(axes: Axes, curve: Curve) -> None:
    """An activation over its argument, its derivative behind it, and axes through the origin."""
    axes.axhline(0, color=_LINE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=_LINE, linewidth=0.8, zorder=0)
    dashes = (0, (4, 1.5))
    axes.plot(
        curve.x, curve.slope, color=VERMILLION, linewidth=1.3, linestyle=dashes, label="derivative"
    )
    axes.plot(curve.x, curve.y, color=BLUE, linewidth=2.0, label="y = f(x)")
    axes.set_xlim(curve.x[0], curve.x[-1])
    axes.set_ylim(-2, 3)
    _bare(axes, curve.name)
    axes.set_xticks([-4, -2, 0, 2, 4])
    axes.set_yticks([-2, -1, 0, 1, 2, 3])
    axes.tick_params(labelsize=8)
    axes.text(0.03, 0.95, curve.note, transform=axes.transAxes, fontsize=8, color=INK, va="top")


def rate_search(axes: Axes, search: RateSearch) -> None:
    """Losses over the learning rates of a search, how they run, and what it suggests."""
    axes.plot(search.rates, search.losses, color=GREY, linewidth=1, label="loss of the batch")
    axes.plot(search.rates, search.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
    if search.suggestion is not None:
        at = int(np.abs(search.rates - search.suggestion).argmin())
        label = f"suggestion: {search.suggestion:.2g}"
        place = (search.suggestion, search.smoothed[at])
        axes.plot(*place, "o", color=VERMILLION, markersize=7, label=label, zorder=3)
    axes.set_xscale("log")
    # The explosion would flatten all that came before it.
    low = search.losses.min()
    high = min(search.losses.max(), low + 1.6 * (search.smoothed[0] - low))
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high)
    _bare(axes, "learning rate search")
    _lines_behind(axes)
    axes.set_xlabel("learning rate", fontsize=9, color=INK)
    axes.set_ylabel("loss", fontsize=9, color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def landscape(axes: Axes, line: Line, visited: NDArray[Any]) -> None:
    """The loss along a line, its slope in the middle, its lowest point and what was visited."""
    axes.plot(line.at, line.losses, color=BLUE, linewidth=1.8)
    height = float(np.ptp(line.losses)) or 1.0
    reach = min(float(line.at[-1]) / 3, height / 3 / max(abs(line.slope), 1e-300))
    ends = np.array([-reach, reach])
    axes.plot(
        ends, line.here + line.slope * ends, color=GREY, label=f"slope here: {line.slope:.3g}"
    )
    axes.plot(0, line.here, "o", color=INK, markersize=7, label=f"the model: {line.here:.3g}")
    if visited.size:
        losses = np.interp(visited, line.at, line.losses)
        axes.plot(visited, losses, "o-", color=VERMILLION, markersize=4, linewidth=1, label="steps")
    least = int(line.losses.argmin())
    if line.losses[least] < line.here:
        label = f"lowest of the line: {line.losses[least]:.3g}"
        place = (line.at[least], line.losses[least])
        axes.plot(*place, "v", color=VERMILLION, markersize=8, label=label)
    _bare(axes, "loss along a line")
    _lines_behind(axes)
    axes.set_xlabel("distance from the parameters", fontsize=9, color=INK)
    axes.set_ylabel("loss", fontsize=9, color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _logarithmic_if_wide(axes: Axes, values: NDArray[Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() <= 0 or finite.max() < 20 * finite.min():
        return
    decades = np.log10(finite.max() / finite.min())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def confusion(axes: Axes, given: Answers) -> None:
    """Counts of (true, said): blue on the diagonal, orange off it."""
    from matplotlib.colors import to_rgb

    classes = len(given.names)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (given.true, given.said), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(classes, dtype=bool)
    # The root lifts single mistakes out of the white.
    strength = np.where(right, share, np.cbrt(share))[..., None]
    colour = np.where(right[..., None], to_rgb(BLUE), to_rgb(VERMILLION))
    cells = 1 + strength * (colour - 1)
    axes.imshow(cells, interpolation="nearest")
    size = float(np.clip(220 / classes / max(1.5, len(str(counts.max())) * 0.72), 4.5, 13))
    for row, column in np.argwhere(counts):
        dark = cells[row, column] @ (0.299, 0.587, 0.114) < 0.6
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK,
            in_layout=False,  # inside its cell whatever the layout: much quicker
        )
    _name_classes(axes, given.names)


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Both axes of a confusion matrix, and lines between the classes."""
    classes = len(names)
    size = float(np.clip(150 / classes, 5.5, 10))
    upright = max(map(len, names)) * classes > 45  # side by side, the names would meet
    axes.set_xticks(range(classes), names, fontsize=size, rotation=90 if upright else 0)
    axes.set_yticks(range(classes), names, fontsize=size)
    between = np.arange(classes - 1) + 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(which="minor", color=_LINE, linewidth=0.6)
    axes.tick_params(which="both", length=0, labelcolor=INK)
    axes.spines[:].set_color("#CCCCCC")
    axes.set_xlabel("predicted", fontsize=9, color=INK)
    axes.set_ylabel("true", fontsize=9, color=INK)
    axes.set_title("confusion matrix", fontsize=11, color=INK, loc="left")
    axes.set_anchor("N")


def mistakes(
    figure: Any, shape: tuple[int, int], images: NDArray[Any], given: Answers, count: int
) -> None:
    """Misclassified images in a grid of the given shape, each with what was said and is true."""
    if images.ndim not in (3, 4) or len(images) != len(given.true):
        rows = len(given.true)
        raise ValueError(
            f"images must have shape ({rows}, H, W) or ({rows}, H, W, 3), got {images.shape}"
        )
    worst = given.mistakes(count)
    if not len(worst):
        text = f"None of {len(given.true):,} images is misclassified."
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, color=INK)
        return
    places = figure.subplots(*shape, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, row in zip(places, worst, strict=False):
        axes.imshow(images[row], cmap="gray_r", interpolation="nearest")
        sure = "" if given.confidence is None else f" ({given.confidence[row]:.0%})"
        said, true = f"said {given.names[given.said[row]]}{sure}", given.names[given.true[row]]
        size = float(np.clip(120 / max(len(said), len(true) + 5), 5, 9))
        axes.set_title(said, fontsize=size, color=VERMILLION, pad=3)
        under = {"transform": axes.transAxes, "ha": "center", "va": "top"}
        axes.text(0.5, -0.05, f"true {true}", fontsize=size, color=BLUE, **under)


def mistakes_title(given: Answers, count: int) -> str:
    """What `mistakes` shows, in words."""
    wrong = int((given.true != given.said).sum())
    if not wrong:
        return ""
    order = "first" if given.confidence is None else "most confident"
    chosen = f"; the {count} {order}" if wrong > count else ""
    return f"{wrong:,} of {len(given.true):,} misclassified{chosen}"


def recall(axes: Axes, given: Answers) -> None:
    """Share of right answers by class, as bars."""
    classes = len(given.names)
    rows = np.bincount(given.true, minlength=classes)
    hits = np.bincount(given.true[given.true == given.said], minlength=classes)
    share = hits / np.maximum(rows, 1)
    size = float(np.clip(150 / classes, 5.5, 9))
    places = np.arange(classes)
    axes.barh(places, share, height=0.62, color=BLUE)
    axes.barh(places, np.where(rows, 1 - share, 0), left=share, height=0.62, color=_PALE)
    for place in places:
        text = f"{hits[place]}/{rows[place]}" if rows[place] else "no rows"
        axes.text(1.03, float(place), text, va="center", fontsize=size, color=INK)
    _bare(axes, "right answers by class")
    axes.set_yticks(places, given.names, fontsize=size)
    axes.set_ylim(max(classes, 8) - 0.4, -0.6)  # a few bars stay slim
    axes.set_xlim(0, 1)
    axes.set_xticks([])  # a whole bar is all of the class
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def values(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """The arguments of a plot of values, checked."""
    true, said = np.asarray(y_true, float).ravel(), np.asarray(y_pred, float).ravel()
    if true.shape != said.shape or not len(true):
        raise ValueError(
            "y_true and y_pred must be values (N,) of the same rows, "
            f"got {len(true)} and {len(said)}"
        )
    return true, said


def _few_ticks(axis: Any, most: int) -> None:
    """So few that large numbers do not meet; with their thousands set apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most))
    low, high = axis.get_view_interval()
    if 1e4 <= max(abs(low), abs(high)) < 1e8:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def scatter(axes: Axes, true: NDArray[Any], said: NDArray[Any], name: str) -> None:
    """Predicted over true values, and the diagonal where both agree."""
    name = _short(name, _LABEL_LENGTH)
    low, high = min(true.min(), said.min()), max(true.max(), said.max())
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=GREY, linewidth=1.2)
    alpha = float(np.clip(20 / np.sqrt(len(true)), 0.15, 0.8))
    axes.scatter(true, said, s=16, color=BLUE, alpha=alpha, linewidths=0, rasterized=True)
    _bare(axes, "predicted over true values")
    axes.set(xlim=ends, ylim=ends, aspect="equal", anchor="N")
    _few_ticks(axes.xaxis, 6)
    _few_ticks(axes.yaxis, 6)
    axes.set_xlabel(f"true {name}", fontsize=9, color=INK)
    axes.set_ylabel(f"predicted {name}", fontsize=9, color=INK)


def errors(axes: Axes, true: NDArray[Any], said: NDArray[Any], name: str) -> None:
    """How the errors are distributed."""
    found = said - true
    axes.hist(found, bins=min(40, max(8, int(np.sqrt(len(found))))), color=BLUE)
    axes.axvline(0, color=INK, linewidth=1)
    _bare(axes, "errors: predicted - true")
    _few_ticks(axes.xaxis, 4)
    axes.set_xlabel(_short(name, _LABEL_LENGTH), fontsize=9, color=INK)
    axes.set_ylabel("rows", fontsize=9, color=INK)
