"""pybp itself, through its public face."""

import pybp as bp


def _layer(workload, layer):
    """Return the layers of one record of `bench.nets`, with its activation."""
    if layer.kind == "pool":
        return [bp.MaxPool2D(layer.kernel)]
    if layer.kind == "mean":
        return [bp.GlobalAveragePool2D()]
    activation = workload.activation
    if layer.kind == "conv":
        how = {"padding": layer.padding, "activation": activation}
        if layer.groups > 1:
            return [bp.DepthwiseConv2D(layer.kernel, **how)]
        return [bp.Conv2D(layer.outputs[0], layer.kernel, **how)]
    last = layer is workload.network[-1]
    if last:
        activation = "sigmoid" if workload.loss == "mse" else "softmax"
    layers = [bp.Flatten()] if len(layer.inputs) > 1 else []
    layers.append(bp.Dense(layer.outputs[0], activation=activation))
    if workload.dropout and not last:
        layers.append(bp.Dropout(workload.dropout))
    return layers


def _model(workload, seed=0):
    if workload.images:
        layers = [bp.Input(workload.layers[0], layout="NCHW")]
    else:
        layers = [bp.Input(workload.layers[0])]
    if workload.augment:
        layers.append(bp.Augment(**workload.augment))
    for layer in workload.network:
        layers += _layer(workload, layer)
    model = bp.Sequential(layers)
    rate = workload.learning_rate or 0.1
    if workload.decay:
        steps = workload.decay * -(-workload.rows // workload.batch)
        rate = bp.schedules.Polynomial(rate, steps)
    if workload.optimizer == "adam":
        optimizer = bp.optim.Adam(learning_rate=rate)
    else:
        optimizer = bp.optim.SGD(learning_rate=rate, momentum=workload.momentum)
    loss = workload.loss
    if workload.smoothing:
        loss = bp.losses.CrossEntropy(label_smoothing=workload.smoothing)
    model.compile(optimizer=optimizer, loss=loss, dtype=workload.dtype, seed=seed)
    return model


def _pairs(model):
    """Return the (weight, bias) of every layer that has them, as views, in the network's order."""
    p = model.parameters
    return [(p[name], p[name[:-6] + "bias"]) for name in p if name.endswith(".weight")]


def _common(weight):
    """Turn a weight between pybp's layout and the common one: dense layers are transposed."""
    return weight.T if weight.ndim == 2 else weight


def _set_weights(model, weights):
    for own, (w, b) in zip(_pairs(model), weights, strict=True):
        own[0][...], own[1][...] = _common(w), b


class Fit:
    """`model.fit`, quiet."""

    version = bp.__version__
    own_start = tunes = True

    def __init__(self, workload, x, y, threads, seed):
        bp.set_num_threads(threads)
        self.workload, self.x, self.y = workload, x, y
        self.model = _model(workload, seed)

    def set_weights(self, weights):
        _set_weights(self.model, weights)

    def get_weights(self):
        return [(_common(w), b) for w, b in _pairs(self.model)]

    def train(self, epochs):
        self.model.fit(
            self.x, self.y, epochs=epochs, batch_size=self.workload.batch,
            shuffle=self.workload.shuffles, verbose=0,
        )  # fmt: skip


class Predict:
    """`model.predict`."""

    version = bp.__version__

    def __init__(self, workload, weights, x, threads):
        bp.set_num_threads(threads)
        self.x, self.model = x, _model(workload)
        _set_weights(self.model, weights)
        self.call = self.model.predict


class Predictor(Predict):
    """`model.predictor(batch_size)`: bound, its output buffer reused."""

    def __init__(self, workload, weights, x, threads):
        super().__init__(workload, weights, x, threads)
        self.call = self.model.predictor(batch_size=workload.batch)
