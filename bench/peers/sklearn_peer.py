"""scikit-learn's MLPClassifier, without penalty, momentum and stopping rule."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.neural_network import MLPClassifier

warnings.filterwarnings("ignore")  # "maximum iterations reached" at every timed call

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


def _classifier(workload, seed=0):
    return MLPClassifier(
        workload.layers[1:-1],
        activation=_ACTIVATIONS[workload.activation],
        solver=workload.optimizer or "sgd",
        alpha=0.0,
        batch_size=workload.batch,
        learning_rate_init=workload.learning_rate or 0.1,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=workload.shuffles,
        max_iter=workload.epochs,
        tol=0.0,
        n_iter_no_change=10**9,
        warm_start=True,
        random_state=seed,
    )


def _set_weights(model, weights):
    """Overwrite a model that has seen a batch; its optimiser restarts at step 0."""
    for k, (w, b) in enumerate(weights):
        model.coefs_[k][...], model.intercepts_[k][...] = w, b
    del model._optimizer


class Trainer:
    """`partial_fit` per epoch; `fit(max_iter=...)` with warm start where a call has many.

    It has neither dropout nor label smoothing, and no schedule for Adam: its optimiser's rate is
    set anew for each epoch, to what a rate that falls at every step has in the middle of it.
    """

    package = "scikit-learn"
    own_start = tunes = True
    note = "one logistic output goes with the log-loss, where the workload says mse"

    def __init__(self, workload, x, y, threads, seed):
        self.workload, self.x, self.y = workload, x, y
        self.trained = 0  # epochs
        self.model = _classifier(replace(workload, learning_rate=self.rate()), seed)
        self.classes = np.arange(max(2, workload.layers[-1]))  # one logistic unit: two classes

    def set_weights(self, weights):
        first = [int(np.argmax(self.y == c)) for c in self.classes]
        self.model.partial_fit(self.x[first], self.y[first], classes=self.classes)
        _set_weights(self.model, weights)

    def get_weights(self):
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))

    def rate(self):
        """Learning rate of the present epoch."""
        rate, decay = self.workload.learning_rate, self.workload.decay
        return rate * max(0.0, 1 - (self.trained + 0.5) / decay) if decay else rate

    def train(self, epochs):
        if self.workload.decay:
            for _ in range(epochs):
                if self.trained:
                    self.model._optimizer.learning_rate_init = self.rate()
                self.model.partial_fit(self.x, self.y, classes=self.classes)
                self.trained += 1
        elif epochs == 1:
            self.model.partial_fit(self.x, self.y, classes=self.classes)
        else:
            self.model.fit(self.x, self.y)


class Predictor:
    """`predict_proba` of a model with the common weights."""

    package = "scikit-learn"

    def __init__(self, workload, weights, x, threads):
        model, self.x = _classifier(workload), x
        classes = np.arange(workload.layers[-1])
        model.partial_fit(np.zeros((len(classes), x.shape[1]), x.dtype), classes, classes=classes)
        _set_weights(model, weights)
        self.call = model.predict_proba
