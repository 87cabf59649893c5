"""What a convolution computes, in small numbers, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from conv_reference import attributes, conv, conv_transpose
from op_reference import Case
from test_ops import Use

from pybp.graph import Node, Parameter
from pybp.init import Constant


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_toy_convolution(dtype, blocked):
    """One to nine under [[1, 2], [3, 4]], exactly; and its gradients where dy is one."""
    case = Case(
        [(1, 3, 3)],
        [(1, 1, 2, 2)],
        attributes(),
        draw=lambda rng, n: [np.arange(1.0, 10).reshape(1, 1, 3, 3)],
        rows=1,
    )
    use = Use("conv", case, dtype, blocked=blocked)
    use.parameters = [np.array([[[[1.0, 2], [3, 4]]]])]
    y, (dx,), (dw,) = use.run(cotangent=np.ones((1, 1, 2, 2)))
    assert y.reshape(2, 2).tolist() == [[37, 47], [67, 77]]
    assert dw.reshape(2, 2).tolist() == [[12, 16], [24, 28]]
    assert dx.reshape(3, 3).tolist() == [[1, 3, 2], [4, 10, 6], [3, 7, 4]]


def test_a_transposed_convolution_is_the_gradient_of_a_convolution():
    """<conv x, y> = <x, conv_transpose y>: the reference itself, which the op is compared with."""
    rng = np.random.default_rng(0)
    attrs = attributes(stride=(2, 3), dilation=(1, 2), pad=(1, 0, 2, 1), groups=2)
    x, weight = rng.normal(size=(2, 4, 9, 11)), rng.normal(size=(6, 2, 3, 2))
    y = conv(x, weight, **attrs)
    v = rng.normal(size=y.shape)
    # What is left over of the image behind the last position belongs to the answer.
    back = conv_transpose(v, weight, output_pad_h=1, output_pad_w=2, **attrs)
    assert back.shape == x.shape
    np.testing.assert_allclose((y * v).sum(), (x * back).sum())


def made(op, image, weight, bias=None, **attrs):
    feed = Node("feed", attrs={"source": 0, "scale": 1.0}, shape=image)
    shapes = [weight] if bias is None else [weight, bias]
    own = tuple(Parameter(f"p{i}", shape, Constant()) for i, shape in enumerate(shapes))
    return Node(op, (feed,), own, attrs, layer="conv0")


REFUSED = {
    "a kernel larger than its image": {"weight": (2, 3, 6, 5)},
    "a dilated kernel larger than its image": {"dilation": (1, 3)},
    "other channels than the image has": {"weight": (2, 4, 3, 3)},
    "groups that do not divide the channels": {"groups": 2},
    "groups that do not divide the outputs": {"groups": 3, "weight": (4, 1, 3, 3)},
    "no groups": {"groups": 0},
    "a bias of another length": {"bias": (3,)},
    "no stride": {"stride": (0, 1)},
    "no dilation": {"dilation": (1, 0)},
    "a negative margin": {"pad": (0, -1, 0, 0)},
    "a margin beyond all sizes": {"pad": (2**62, 2**62, 0, 0)},
    "an image without channels": {"image": (5, 5)},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_convolution_refuses(why):
    given = {"image": (3, 5, 5), "weight": (2, 3, 3, 3), "bias": None} | REFUSED[why]
    shapes = {name: given.pop(name) for name in ("image", "weight", "bias")}
    with pytest.raises(ValueError, match=r"layer 'conv0': conv cannot take"):
        made("conv", **shapes, **attributes(**given))


def test_a_transposed_convolution_refuses_an_empty_image():
    attrs = attributes(pad=(2, 2, 0, 0)) | {"output_pad_h": 0, "output_pad_w": 0}
    with pytest.raises(ValueError, match="conv_transpose cannot take"):
        made("conv_transpose", (1, 1, 4), (1, 2, 3, 3), **attrs)
