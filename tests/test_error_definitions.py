"""Bad definitions: layers, names, rates and the order of calls."""

import numpy as np
import pytest
from refusal import CLASSES, X, classifier, refused, says

import pybp as bp
from pybp.errors import NotCompiledError

NAN, INF = float("nan"), float("inf")


def raises(exception, *words):
    return exception, words


def check(call, exception, words):
    with pytest.raises(exception) as caught:
        call()
    says(caught, *words)


# -- layers ----------------------------------------------------------------------------------------


class Unbuilt(bp.Layer):
    """Without a method build."""


class TwoOfOneName(bp.TrainedLayer):
    def build(self, x, name):
        first, second = (self.weight(f"{name}.w", (3, n)) for n in (3, 5))
        return x @ first @ second


BAD_LAYERS = {
    "Dense(0)": (lambda: bp.Dense(0), raises(ValueError, "units", "0")),
    "Dense(-3)": (lambda: bp.Dense(-3), raises(ValueError, "units", "-3")),
    "Dense(2.5)": (lambda: bp.Dense(2.5), raises(TypeError, "units", ("2.5", "float"))),
    "Dense('3')": (lambda: bp.Dense("3"), raises(TypeError, "units", ("'3'", "str"))),
    "Dense(True)": (lambda: bp.Dense(True), raises(TypeError, "units", ("True", "bool"))),
    "Dense(None)": (lambda: bp.Dense(None), raises(TypeError, "units", "None")),
    "Dense(3, activaton=...)": (
        lambda: bp.Dense(3, activaton="relu"),
        raises(TypeError, "Dense", "'activaton'", "did you mean 'activation'", "name", "trainable"),
    ),
    "Dense(3, name='a[1]')": (
        lambda: bp.Dense(3, name="a[1]"),
        raises(ValueError, "'a[1]'", "without dots and brackets"),
    ),
    "NeuronGraph(..., lambda)": (
        lambda: bp.NeuronGraph([(1, 2)], {2: lambda v: 2 * v}),
        raises(ValueError, "unit 2", "by their names", "<lambda>"),
    ),
    "without build": (
        lambda: Unbuilt()(bp.Input(3)),
        raises(NotImplementedError, "Unbuilt needs a method build(self, x, name)"),
    ),
    "two parameters of one name": (
        lambda: bp.Sequential([bp.Input(3), TwoOfOneName()]),
        raises(ValueError, "twoofonename0", "twoofonename0.w", "(3, 3)", "(3, 5)", "its own"),
    ),
    "Conv2D(4, 3, strides=2)": (
        lambda: bp.Conv2D(4, 3, strides=2),
        raises(TypeError, "Conv2D", "'strides'", "did you mean 'stride'", "max_norm"),
    ),
    "Conv2D(4, 3, data_format='channels_last')": (
        lambda: bp.Conv2D(4, 3, data_format="channels_last"),
        raises(TypeError, "'data_format': Known", 'in bp.Input(..., layout="NHWC")'),
    ),
    "MaxPool2D(2, strides=2)": (
        lambda: bp.MaxPool2D(2, strides=2),
        raises(TypeError, "MaxPool2D", "'strides'", "did you mean 'stride'"),
    ),
    "Dense()": (lambda: bp.Dense(), raises(TypeError, "Dense", "units")),
    "activation 'rleu'": (
        lambda: bp.Dense(3, activation="rleu"),
        raises(ValueError, "activation", "rleu", "relu"),
    ),
    "activation 'sigmiod'": (
        lambda: bp.Dense(3, activation="sigmiod"),
        raises(ValueError, "activation", "sigmiod", "sigmoid"),
    ),
    "activation 'ReLU'": (
        lambda: bp.Dense(3, activation="ReLU"),
        raises(ValueError, "activation", "ReLU", "'relu'"),
    ),
    "activation 'qqq'": (
        lambda: bp.Dense(3, activation="qqq"),
        raises(ValueError, "activation", "qqq", "relu", "tanh"),
    ),
    "activation 7": (lambda: bp.Dense(3, activation=7), raises(TypeError, "activation")),
    "weight_init 'glorut'": (
        lambda: bp.Dense(3, weight_init="glorut"),
        raises(ValueError, "weight_init", "glorut", "glorot"),
    ),
    "bias_init 'nrmal'": (
        lambda: bp.Dense(3, bias_init="nrmal"),
        raises(ValueError, "bias_init", "nrmal", "normal"),
    ),
    "weight_init 3.5j": (lambda: bp.Dense(3, weight_init=3.5j), raises(TypeError, "weight_init")),
    "Input(0)": (lambda: bp.Input(0), raises(ValueError, "shape", "0")),
    "Input(-1)": (lambda: bp.Input(-1), raises(ValueError, "shape", "-1")),
    "Input(())": (lambda: bp.Input(()), raises(ValueError, "shape")),
    "Input((28, 0))": (lambda: bp.Input((28, 0)), raises(ValueError, "shape", "0")),
    "Input((28, 2.5))": (lambda: bp.Input((28, 2.5)), raises(TypeError, "shape", "2.5")),
    "Input('784')": (lambda: bp.Input("784"), raises(TypeError, "shape", "784")),
    "Input(True)": (lambda: bp.Input(True), raises(TypeError, "shape", ("True", "bool"))),
    "Input(scale=nan)": (lambda: bp.Input(4, scale=NAN), raises(ValueError, "scale", "nan")),
    "Input(scale=inf)": (lambda: bp.Input(4, scale=INF), raises(ValueError, "scale", "inf")),
    "Input(scale=0)": (lambda: bp.Input(4, scale=0), raises(ValueError, "scale", "0")),
    "Input(scale='a')": (lambda: bp.Input(4, scale="a"), raises(TypeError, "scale")),
    "Dropout(-0.1)": (lambda: bp.Dropout(-0.1), raises(ValueError, "rate", "-0.1")),
    "Dropout(1.0)": (lambda: bp.Dropout(1.0), raises(ValueError, "rate", "1")),
    "Dropout(20)": (lambda: bp.Dropout(20), raises(ValueError, "rate", "20")),
    "Dropout(nan)": (lambda: bp.Dropout(NAN), raises(ValueError, "rate", "nan")),
    "Dropout('0.2')": (lambda: bp.Dropout("0.2"), raises(TypeError, "rate")),
    "Normal(-1)": (lambda: bp.init.Normal(-1), raises(ValueError, "-1")),
    "Normal(nan)": (lambda: bp.init.Normal(NAN), raises(ValueError, "nan")),
    "Constant(nan)": (lambda: bp.init.Constant(NAN), raises(ValueError, "nan")),
}


@pytest.mark.parametrize("kind", BAD_LAYERS)
def test_bad_layer(kind):
    call, (exception, words) = BAD_LAYERS[kind]
    check(call, exception, words)


BAD_STACKS = {
    "empty": (list, raises(ValueError, "Input")),
    "no Input": (lambda: [bp.Dense(3)], raises(ValueError, "Input", ("first", "starts"))),
    "Input alone": (lambda: [bp.Input(4)], raises(ValueError, ("Dense", "layer"))),
    "Input inside": (
        lambda: [bp.Input(4), bp.Dense(3), bp.Input(3), bp.Dense(2)],
        raises(ValueError, "Input", "first"),
    ),
    "a number": (lambda: [bp.Input(4), 10], raises(TypeError, "10", "layer")),
    "a name": (lambda: [bp.Input(4), "dense"], raises(TypeError, "dense", "layer")),
    "the class, not a layer": (lambda: [bp.Input(4), bp.Dense], raises(TypeError, "Dense")),
    "two of one name": (
        lambda: [bp.Input(4), bp.Dense(3, name="a"), bp.Dense(3, name="a")],
        raises(ValueError, "'a'", "name"),
    ),
    "no list": (lambda: bp.Dense(3), raises(TypeError, "Dense", "list")),
}


@pytest.mark.parametrize("kind", BAD_STACKS)
def test_bad_stack(kind):
    layers, (exception, words) = BAD_STACKS[kind]
    check(lambda: bp.Sequential(layers()), exception, words)


def test_sizes_beyond_any_memory():
    """2**70 is no size at all; a terabyte of weights is refused by name before it is drawn."""
    check(lambda: bp.Sequential([bp.Input(4), bp.Dense(2**70)]), ValueError, ["units"])
    check(lambda: bp.Sequential([bp.Input(2**70), bp.Dense(3)]), ValueError, ["shape"])
    model = bp.Sequential([bp.Input(10**6), bp.Dense(10**9)])
    with pytest.raises(MemoryError) as caught:
        model.compile(optimizer=bp.optim.SGD(0.1), loss="mse")
    says(caught, "dense0", ("TB", "TiB"))
    assert not model.compiled


# -- optimisers and schedules ----------------------------------------------------------------------

BAD_RATES = [
    (0, ValueError),
    (0.0, ValueError),
    (-0.1, ValueError),
    (NAN, ValueError),
    (INF, ValueError),
    ("0.1", TypeError),
    (None, TypeError),
    (1j, TypeError),
    (True, TypeError),
    ([0.1], TypeError),
]


@pytest.mark.parametrize("rate, exception", BAD_RATES)
@pytest.mark.parametrize("optimiser", [bp.optim.SGD, bp.optim.Adam])
def test_bad_learning_rate(optimiser, rate, exception):
    check(
        lambda: optimiser(learning_rate=rate), exception, ["learning_rate", str(rate).strip("()")]
    )


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 1.5, NAN, INF])
def test_bad_momentum(momentum):
    check(lambda: bp.optim.SGD(0.1, momentum=momentum), ValueError, ["momentum", str(momentum)])


@pytest.mark.parametrize("beta", [-0.1, 1.0, 1.5, NAN, INF])
@pytest.mark.parametrize("which", [0, 1])
def test_bad_betas(beta, which):
    betas = [0.9, 0.999]
    betas[which] = beta
    check(lambda: bp.optim.Adam(betas=tuple(betas)), ValueError, ["betas", str(beta)])


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 0.99, 0.999), 0.9, "ab", None, ("a", "b")])
def test_betas_are_two_numbers(betas):
    check(lambda: bp.optim.Adam(betas=betas), (TypeError, ValueError), ["betas"])


@pytest.mark.parametrize("eps", [-1e-8, NAN, INF])
def test_bad_eps(eps):
    check(lambda: bp.optim.Adam(eps=eps), ValueError, ["eps", str(eps)])


BAD_SCHEDULES = {
    "Constant(0)": (lambda: bp.schedules.Constant(0), raises(ValueError, "rate", "0")),
    "Constant(nan)": (lambda: bp.schedules.Constant(NAN), raises(ValueError, "rate", "nan")),
    "Cosine(-1, 10)": (lambda: bp.schedules.Cosine(-1, 10), raises(ValueError, "rate", "-1")),
    "Cosine(0.1, 0)": (lambda: bp.schedules.Cosine(0.1, 0), raises(ValueError, "steps", "0")),
    "Cosine(0.1, -5)": (lambda: bp.schedules.Cosine(0.1, -5), raises(ValueError, "steps", "-5")),
    "Cosine(0.1, 2.5)": (lambda: bp.schedules.Cosine(0.1, 2.5), raises(TypeError, "steps", "2.5")),
    "Cosine(final=-1)": (
        lambda: bp.schedules.Cosine(0.1, 10, final=-1),
        raises(ValueError, "final", "-1"),
    ),
    "Cosine(final=nan)": (
        lambda: bp.schedules.Cosine(0.1, 10, final=NAN),
        raises(ValueError, "final", "nan"),
    ),
    "OneCycle(0, 10)": (lambda: bp.schedules.OneCycle(0, 10), raises(ValueError, "peak", "0")),
    "OneCycle(nan, 10)": (
        lambda: bp.schedules.OneCycle(NAN, 10),
        raises(ValueError, "peak", "nan"),
    ),
    "OneCycle(0.1, 0)": (lambda: bp.schedules.OneCycle(0.1, 0), raises(ValueError, "steps", "0")),
}


@pytest.mark.parametrize("kind", BAD_SCHEDULES)
def test_bad_schedule(kind):
    call, (exception, words) = BAD_SCHEDULES[kind]
    check(call, exception, words)


# -- compile ---------------------------------------------------------------------------------------

BAD_COMPILE = {
    "loss 'cross_entrpy'": (
        {"loss": "cross_entrpy"},
        raises(ValueError, "loss", "cross_entrpy", "cross_entropy"),
    ),
    "loss 'MSE'": ({"loss": "MSE"}, raises(ValueError, "loss", "'mse'")),
    "loss 'huh'": ({"loss": "huh"}, raises(ValueError, "loss", "huh", "half_sse")),
    "loss None": ({"loss": None}, raises(TypeError, "loss", "None")),
    "optimizer 'adm'": ({"optimizer": "adm"}, raises(ValueError, "optimizer", "adm", "adam")),
    "optimizer class": ({"optimizer": bp.optim.Adam}, raises(TypeError, "optimizer", "Adam(")),
    "optimizer 0.1": ({"optimizer": 0.1}, raises(TypeError, "optimizer", ("0.1", "float"))),
    "metric 'accurracyy'": (
        {"metrics": ["accurracyy"]},
        raises(ValueError, "metric", "accurracyy", "accuracy"),
    ),
    "metrics a word": ({"metrics": "accuracy"}, raises(TypeError, "metrics", ("list", "["))),
    "metrics [3]": ({"metrics": [3]}, raises(TypeError, "metric", "3")),
    "dtype 'float16'": ({"dtype": "float16"}, raises(ValueError, "dtype", "float16", "float32")),
    "dtype 'int32'": ({"dtype": "int32"}, raises(ValueError, "dtype", "int32", "float32")),
    "dtype 'flaot32'": ({"dtype": "flaot32"}, raises(ValueError, "dtype", "flaot32", "float32")),
    "seed -1": ({"seed": -1}, raises(ValueError, "seed", "-1")),
    "seed 1.5": ({"seed": 1.5}, raises(TypeError, "seed", "1.5")),
    "seed 'a'": ({"seed": "a"}, raises(TypeError, "seed", ("'a'", "str"))),
    "seed 2**64": ({"seed": 2**64}, raises(ValueError, "seed")),
}


@pytest.mark.parametrize("kind", BAD_COMPILE)
def test_bad_compile(kind):
    """Also of a model that is compiled already: it stays as it was."""
    settings, (exception, words) = BAD_COMPILE[kind]
    good = {"optimizer": bp.optim.SGD(0.1), "loss": "cross_entropy", "seed": 0}
    refused(lambda model: model.compile(**{**good, **settings}), exception, *words)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_cross_entropy_needs_a_softmax_or_linear_last_layer(activation):
    model = bp.Sequential([bp.Input(4), bp.Dense(3, activation=activation)])
    words = ["dense0", activation, "cross_entropy", "softmax"]
    check(
        lambda: model.compile(optimizer=bp.optim.SGD(0.1), loss="cross_entropy"), ValueError, words
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "softmax"])
def test_binary_cross_entropy_needs_a_sigmoid_or_linear_last_layer(activation):
    model = bp.Sequential([bp.Input(4), bp.Dense(1, activation=activation)])
    words = ["dense0", activation, "binary_cross_entropy", "sigmoid"]
    check(
        lambda: model.compile(optimizer=bp.optim.SGD(0.1), loss="binary_cross_entropy"),
        ValueError,
        words,
    )


UNCOMPILED = {
    "fit": lambda m: m.fit(X, CLASSES),
    "evaluate": lambda m: m.evaluate(X, CLASSES),
    "predict": lambda m: m.predict(X),
    "predictor": lambda m: m.predictor(),
    "train_on_batch": lambda m: m.train_on_batch(X, CLASSES),
    "gradients": lambda m: m.gradients(X, CLASSES),
    "activations": lambda m: m.activations(X),
    "parameters": lambda m: m.parameters,
    "save": lambda m: m.save("never-written.safetensors"),
}


@pytest.mark.parametrize("method", UNCOMPILED)
def test_use_before_compile(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = bp.Sequential([bp.Input(4), bp.Dense(3)])
    assert not model.compiled
    check(lambda: UNCOMPILED[method](model), NotCompiledError, [method, "compile("])
    assert issubclass(NotCompiledError, RuntimeError)
    assert not list(tmp_path.iterdir())


def test_an_unknown_parameter_suggests_the_nearest():
    check(lambda: classifier().parameters["dense0.weightt"], KeyError, ["dense0.weight"])


def test_a_parameter_view_refuses_another_shape():
    refused(
        lambda model: model.parameters["dense0.weight"].__setitem__(..., np.zeros((7, 7))),
        ValueError,
        "(7,7)",
    )
