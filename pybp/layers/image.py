"""What the layers on images and sequences share: windows, their paddings, and what is refused."""

from __future__ import annotations

from pybp.checks import whole
from pybp.errors import unknown
from pybp.graph import Node
from pybp.layers.base import LARGEST
from pybp.layouts import as_image, given_shape

LARGEST_WINDOW = 2**24  # and stride, padding, and image in a convolution: see conv_attrs.h
LARGEST_ROW = 2**48  # values: see csrc/core/plan.c
Sizes = int | tuple[int, int]  # of a sequence, or (height, width) of an image
Sides = tuple[int, int]  # before, after
Padding = str | Sides | tuple[Sides, Sides]


def sizes(given: object, what: str, axes: int, least: int = 1) -> Sizes:
    """A whole number for each axis: one for a sequence; one, or (height, width), for an image."""
    numbers = list(given) if isinstance(given, tuple | list) else [given] * axes
    if len(numbers) != axes:
        wanted = "one number" if axes == 1 else "a number or a pair, (height, width)"
        raise ValueError(f"{what} must be {wanted}, got {given!r}")
    found = [whole(number, what, least, LARGEST_WINDOW) for number in numbers]
    return found[0] if axes == 1 else (found[0], found[1])


def over(given: Sizes) -> tuple[int, int]:
    """Sizes by height and width: sequences are one place high."""
    return (1, given) if isinstance(given, int) else given


def padding(given: object, what: str, axes: int, words: bool = True) -> Padding:
    """ "same"; or (left, right) of a sequence, ((top, bottom), (left, right)) of an image."""
    if isinstance(given, str) and words:
        if given not in ("same", "valid"):
            raise unknown(f"padding for {what}", given, ["same", "valid"])
        if given == "same":
            return "same"
        given = 0
    sides = list(given) if isinstance(given, tuple | list) else [given] * axes
    if axes == 1 and len(sides) == 2:
        sides = [sides]
    if len(sides) != axes:
        raise _bad_padding(given, what, axes)
    found = [_both(side, what, axes, given) for side in sides]
    return found[0] if axes == 1 else (found[0], found[1])


def _bad_padding(given: object, what: str, axes: int) -> ValueError:
    sides = "(left, right)" if axes == 1 else "(height, width), ((top, bottom), (left, right))"
    return ValueError(
        f'{what}: padding must be a number, {sides}, "same" or "valid", got {given!r}'
    )


def _both(side: object, what: str, axes: int, given: object) -> Sides:
    """The padding before and after along one axis."""
    both = list(side) if isinstance(side, tuple | list) else [side, side]
    if len(both) != 2:
        raise _bad_padding(given, what, axes)
    before, after = (whole(number, f"{what}: padding", 0, LARGEST_WINDOW) for number in both)
    return before, after


def same(size: int, window: int, stride: int) -> Sides:
    """Padding with which ceil(size / stride) windows fit, the larger half of it after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def spread(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """How many places a kernel reaches over, by height and width."""
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def pads(
    given: Padding, x: Node, window: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1)
) -> dict[str, int]:
    """The attributes for padding of an op on rows (C, H, W)."""
    if isinstance(given, str):
        top, left = (same(*of) for of in zip(x.shape[1:], window, stride, strict=True))
    elif isinstance(given[0], int):
        top, left = (0, 0), given
    else:
        top, left = given
    found = {"pad_top": top[0], "pad_bottom": top[1]}
    return found | {"pad_left": left[0], "pad_right": left[1]}


def must_fit(
    x: Node, what: str, window: tuple[int, int], attrs: dict[str, int], name: str
) -> tuple[int, int]:
    """Height and width with padding, than which a window must not be larger."""
    high = x.shape[1] + attrs["pad_top"] + attrs["pad_bottom"]
    wide = x.shape[2] + attrs["pad_left"] + attrs["pad_right"]
    if window[0] <= high and window[1] <= wide:
        return high, wide
    padded = " with its padding" if (high, wide) != x.shape[1:] else ""
    raise ValueError(
        f"layer {name!r}: {what} of {places(x, window)} is larger than the "
        f"{places(x, (high, wide))} of layer {x.layer!r}{padded} (rows {given_shape(x)}, "
        f'{x.layout}): make it smaller, pad more (padding="same"), or pool less before it'
    )


def must_hold(
    x: Node, channels: int, size: tuple[int, int], name: str, remedy: str, side: int = LARGEST
) -> None:
    """What a layer makes of x must not be larger than rows can be, or its sides than `side`."""
    if max(size) <= side and channels * size[0] * size[1] <= LARGEST_ROW:
        return
    limit = f"a side has {side} places" if max(size) > side else f"a row has {LARGEST_ROW}"
    raise ValueError(
        f"layer {name!r}: of layer {x.layer!r} (rows {given_shape(x)}, {x.layout}) it would make "
        f"{channels} x {places(x, size)} values, and {limit} at most: {remedy}"
    )


def places(x: Node, size: tuple[int, int]) -> str:
    """Height and width in words: of sequences the width alone."""
    return str(size[1]) if sequence(x) else f"{size[0]} x {size[1]}"


def sequence(x: Node) -> bool:
    """Whether a node with rows (C, 1, W) is a sequence to the user."""
    return x.layout in ("NCL", "NLC")


def enter(x: Node | None, name: str, layer: str, axes: int) -> Node:
    """The layer's input with rows (C, H, W): a sequence for one axis, an image for two, any of them
    for none."""
    assert x is not None  # the model has put an Input first
    x = as_image(x, name, layer)
    if axes and sequence(x) != (axes == 1):
        own, other, kind = ("2D", "1D", "sequences") if axes == 2 else ("1D", "2D", "images")
        raise ValueError(
            f"layer {name!r}: layer {x.layer!r} gives {kind}, rows {given_shape(x)} in layout "
            f"{x.layout!r}: use bp.{layer.replace(own, other)} instead of bp.{layer}"
        )
    return x
