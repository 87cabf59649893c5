"""pybp itself, through its public face."""

import pybp as bp


def _model(workload, seed=0):
    *hidden, outputs = workload.layers[1:]
    last = "sigmoid" if workload.loss == "mse" else "softmax"
    layers = [bp.Input(workload.layers[0])]
    for units in hidden:
        layers.append(bp.Dense(units, activation=workload.activation))
        if workload.dropout:
            layers.append(bp.Dropout(workload.dropout))
    model = bp.Sequential([*layers, bp.Dense(outputs, activation=last)])
    rate = workload.learning_rate or 0.1
    if workload.decay:
        steps = workload.decay * -(-workload.rows // workload.batch)
        rate = bp.schedules.Polynomial(rate, steps)
    optimizers = {"adam": bp.optim.Adam, "sgd": bp.optim.SGD}
    loss = workload.loss
    if workload.smoothing:
        loss = bp.losses.CrossEntropy(label_smoothing=workload.smoothing)
    model.compile(
        optimizer=optimizers[workload.optimizer or "sgd"](learning_rate=rate),
        loss=loss,
        dtype=workload.dtype,
        seed=seed,
    )
    return model


def _set_weights(model, weights):
    for k, (w, b) in enumerate(weights):
        model.parameters[f"dense{k}.weight"][...] = w.T
        model.parameters[f"dense{k}.bias"][...] = b


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
        p = self.model.parameters
        layers = range(len(self.workload.layers) - 1)
        return [(p[f"dense{k}.weight"].T, p[f"dense{k}.bias"]) for k in layers]

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
