"""Every derivative of a small network, written out as one would by hand, and the step it makes.

Mazur's 2-2-2 network ("A step by step backpropagation example") has eight weights and four biases.
For each of them this prints the chain rule, the numbers put in, and what `model.gradients` says.
With three layers of ten units the same would be a book: there, backpropagation uses every delta
again instead of writing it out.

    python examples/by_hand.py
"""

import numpy as np

import pybp as bp

RATE = 0.5
X, T = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
HIDDEN = [[0.15, 0.20], [0.25, 0.30]]
OUTPUT = [[0.40, 0.45], [0.50, 0.55]]


def mazur():
    """The network with its weights, and half the sum of squared errors as loss."""
    layers = [bp.Dense(2, activation="sigmoid", name=name) for name in ("hidden", "output")]
    model = bp.Sequential([bp.Input(2), *layers])
    model.compile(bp.optim.SGD(RATE), loss="half_sse", dtype="float64")
    for name, weight, bias in (("hidden", HIDDEN, 0.35), ("output", OUTPUT, 0.60)):
        model.parameters[f"{name}.weight"][...] = weight
        model.parameters[f"{name}.bias"][...] = bias
    return model


def derivations(model):
    """[(parameter, index, name, chain rule, numbers put in, value)] of all twelve."""
    h, o = (model.activations(X)[name][0] for name in ("hidden", "output"))
    v = np.array(model.parameters["output.weight"])
    rows, words, numbers, delta = [], {}, {}, {}
    for k in range(2):
        words[k] = f"(o{k + 1} - t{k + 1}) o{k + 1} (1 - o{k + 1})"
        numbers[k] = f"({o[k]:.6f} - {T[0, k]:.2f}) {o[k]:.6f} (1 - {o[k]:.6f})"
        delta[k] = (o[k] - T[0, k]) * o[k] * (1 - o[k])
        for j in range(2):
            chain, given = f"{words[k]} h{j + 1}", f"{numbers[k]} {h[j]:.6f}"
            rows.append(
                ("output.weight", (k, j), f"v{k + 1}{j + 1}", chain, given, delta[k] * h[j])
            )
        rows.append(("output.bias", (k,), f"c{k + 1}", words[k], numbers[k], delta[k]))
    for j in range(2):
        paths = " + ".join(f"{words[k]} v{k + 1}{j + 1}" for k in range(2))
        filled = " + ".join(f"{numbers[k]} {v[k, j]:.2f}" for k in range(2))
        chain = f"[{paths}] h{j + 1} (1 - h{j + 1})"
        given = f"[{filled}] {h[j]:.6f} (1 - {h[j]:.6f})"
        value = (delta[0] * v[0, j] + delta[1] * v[1, j]) * h[j] * (1 - h[j])
        for i in range(2):
            row = f"{chain} x{i + 1}", f"{given} {X[0, i]:.2f}", value * X[0, i]
            rows.append(("hidden.weight", (j, i), f"w{j + 1}{i + 1}", *row))
        rows.append(("hidden.bias", (j,), f"b{j + 1}", chain, given, value))
    return rows


def main():
    """Print the derivations and one step; return the largest difference from the library's."""
    model = mazur()
    gradients, apart = model.gradients(X, T), 0.0
    print("E = ((o1 - t1)^2 + (o2 - t2)^2) / 2, o = sigma(v h + c), h = sigma(w x + b)\n")
    print(f"E = {model.evaluate(X, T)['loss']:.12f}\n")
    for parameter, index, name, chain, numbers, value in derivations(model):
        before, found = model.parameters[parameter][index], gradients[parameter][index]
        apart = max(apart, abs(found - value))
        print(
            f"dE/d{name} = {chain}\n       = {numbers}\n       = {value:.12f}  (pybp {found:.12f})"
        )
        print(f"{name} <- {name} - {RATE} dE/d{name} = {before - RATE * value:.12f}\n")
    model.train_on_batch(X, T)
    print(f"after the step: E = {model.evaluate(X, T)['loss']:.12f}")
    return apart


if __name__ == "__main__":
    main()
