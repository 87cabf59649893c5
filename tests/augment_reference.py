"""What the image ops do in training, in NumPy from their definitions: Philox's numbers, the map of
each image, bilinear interpolation one pixel at a time."""

from __future__ import annotations

import numpy as np

SEED, STEP = 7, 3  # of test_ops.Use, whose ops draw as the first of their plan
MASK = 0xFFFFFFFF
OFF = dict.fromkeys(("shift", "rotation", "scale", "stretch", "shear", "elastic", "fill"), 0.0)
OFF |= {"flips": 0, "crop": 0, "sigma": 4.0}
RECTANGLES = {"rate": 0.6, "low": 0.05, "high": 0.5, "aspect": 3.0, "fill": 2.5}


def philox(seed, stream, step, index):
    """Four numbers of 32 bits: Salmon et al., SC 2011, ten rounds."""
    c = [index & MASK, (index >> 32) ^ stream, step & MASK, step >> 32]
    k = [seed & MASK, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def block(index, seed=SEED, step=STEP, stream=0):
    """The 64 numbers of a block as shares in [0, 1)."""
    found = [philox(seed, stream, step, 16 * index + i) for i in range(16)]
    return np.array(found).T.ravel() / 2.0**32


def knots(size, spacing):
    return int((size - 1) / spacing) + 4


def spline(distance):
    """The cubic B-spline of unit spacing."""
    t = np.abs(distance)
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6)


def displacements(u, height, width, elastic, sigma):
    """(dx, dy), (H, W) each, from shares for the knots, at (-1, 0, 1, ...) spacings."""
    spacing = np.sqrt(3) * sigma
    down, across = knots(height, spacing), knots(width, spacing)
    z = 2 * u[: 2 * down * across].reshape(2, down, across) - 1
    rows = spline(np.arange(height)[:, None] / spacing - (np.arange(down) - 1))
    columns = spline(np.arange(width)[:, None] / spacing - (np.arange(across) - 1))
    return elastic / (2 * np.sqrt(np.pi) * sigma) / (151 / 315) * (rows @ z @ columns.T)


def matrix(u, attrs):
    """The map's linear part on (x, y), and how far it moves."""
    spread = 2 * u - 1
    angle = np.deg2rad(attrs["rotation"] * spread[2])
    size = (1 + attrs["scale"]) ** spread[3]
    stretch = (1 + attrs["stretch"]) ** spread[4]
    flip = [-1 if attrs["flips"] & 1 << i and u[6 + i] >= 0.5 else 1 for i in (0, 1)]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lean = np.array([[1, np.tan(np.deg2rad(attrs["shear"] * spread[5]))], [0, 1]])
    scale = np.diag([size * stretch, size / stretch])
    crop = np.floor((2 * attrs["crop"] + 1) * u[8:10]) - attrs["crop"]
    forward = turn @ lean @ scale @ np.diag(flip)
    return np.linalg.inv(forward), attrs["shift"] * spread[:2] + crop


def bilinear(image, x, y, fill):
    """The image, (H, W), between its pixels; `fill` around it."""
    height, width = image.shape
    padded = np.full((height + 2, width + 2), float(fill))
    padded[1:-1, 1:-1] = image
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    found = np.zeros(np.shape(x))
    for i in range(height + 2):
        for j in range(width + 2):
            found += padded[i, j] * np.maximum(1 - abs(y - i), 0) * np.maximum(1 - abs(x - j), 0)
    return found


def warp(image, inverse, moved, bent, fill):
    """Every pixel read where the map says, from the image's middle."""
    height, width = image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    p = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    q = (p - middle - moved) @ inverse.T + middle
    return bilinear(image, q[..., 0] + bent[0], q[..., 1] + bent[1], fill)


def augment(x, seed=SEED, step=STEP, **attrs):
    """Rows of images of attrs["height"] x attrs["width"], augmented."""
    height, width = attrs["height"], attrs["width"]
    blocks = 1
    if attrs["elastic"]:
        spacing = np.sqrt(3) * attrs["sigma"]
        blocks += -(-2 * knots(height, spacing) * knots(width, spacing) // 64)
    found = []
    for n, row in enumerate(x):
        u = block(n * blocks, seed, step)
        inverse, moved = matrix(u, attrs)
        bent = np.zeros((2, height, width))
        if attrs["elastic"]:
            z = [block(n * blocks + k, seed, step) for k in range(1, blocks)]
            bent = displacements(np.concatenate(z), height, width, attrs["elastic"], attrs["sigma"])
        images = row.reshape(-1, height, width)
        found.append([warp(image, inverse, moved, bent, attrs["fill"]) for image in images])
    return np.reshape(found, x.shape)


def rectangle(u, height, width, low, high, aspect):
    """(top, left, height, width) of what is erased, or None."""
    for v in u[4:44].reshape(10, 4):
        area = (low + (high - low) * v[0]) * height * width
        ratio = aspect ** (2 * v[1] - 1)
        h, w = int(np.sqrt(area * ratio) + 0.5), int(np.sqrt(area / ratio) + 0.5)
        if h <= height and w <= width:
            return int(v[2] * (height - h + 1)), int(v[3] * (width - w + 1)), h, w
    return None


def erase(x, rate, low, high, aspect, fill, height, width):
    found = x.reshape(len(x), -1, height, width).copy()
    for n, image in enumerate(found):
        u = block(n)
        place = rectangle(u, height, width, low, high, aspect) if u[0] < rate else None
        if place:
            top, left, h, w = place
            image[:, top : top + h, left : left + w] = fill
    return found.reshape(x.shape)


REFERENCE = {"augment": lambda x, **attrs: x, "erase": lambda x, **attrs: x}

ALL_AT_ONCE = {"shift": 1.5, "rotation": 25.0, "scale": 0.2, "stretch": 0.1, "shear": 15.0}
ALL_AT_ONCE |= {"flips": 3, "crop": 2, "elastic": 12.0, "sigma": 2.0, "fill": -0.5}

IMAGES = [((1, 9, 9), 9, 9), ((3, 7, 18), 7, 18), ((24,), 6, 4), ((1, 1, 1), 1, 1)]


def uses(reference, **attrs):
    """Of one channel and of more, in training and not; wide, high, tiny and flat images."""
    for shape, height, width in IMAGES:
        use = {"inputs": [shape], "attrs": attrs | {"height": height, "width": width}, "rows": 5}
        yield use
        yield use | {"training": True, "reference": reference}


CASES = {
    "augment": [
        *uses(augment, **OFF | {"flips": 1, "crop": 3}),
        *uses(augment, **OFF | {"shift": 2.0, "rotation": 180.0, "fill": 1.0}),
        *uses(augment, **OFF | {"scale": 0.5, "stretch": 0.5, "shear": 40.0}),
        *uses(augment, **OFF | {"elastic": 30.0, "sigma": 3.0}),
        *uses(augment, **ALL_AT_ONCE),
    ],
    "erase": [
        *uses(erase, **RECTANGLES),
        *uses(erase, **RECTANGLES | {"rate": 1.0, "high": 1.0, "aspect": 1.0}),
    ],
}
