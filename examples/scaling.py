"""Columns scaled to [0, 1], without a leak: what a scaler knows, it knows from the training rows.

Two ways that give the same network: scikit-learn's MinMaxScaler beside the model, fitted in every
fold of a cross-validation, and `bp.MinMaxScaler` inside it, which is saved with it and takes raw
rows. Scaling all rows before they are split into folds would tell the model about the test rows.

    python examples/scaling.py [TABLE.csv]      # its last column holds the classes
"""

import sys
from statistics import mean

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import MinMaxScaler

import pybp as bp


def network(columns, classes, *scaler):
    """A small classifier, behind a scaler if one is given."""
    model = bp.Sequential(
        [
            bp.Input(columns),
            *scaler,
            bp.Dense(10, activation="tanh"),
            bp.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(bp.optim.Adam(0.02), "cross_entropy", ["accuracy"], dtype="float64", seed=0)
    return model


def scaled_beside(x, y, x_test):
    """Class probabilities of the test rows: scikit-learn's scaler, fitted on the training rows."""
    scaler = MinMaxScaler().fit(x)
    model = network(x.shape[1], y.max() + 1)
    model.fit(scaler.transform(x), y, epochs=60, batch_size=16, verbose=0)
    return model.predict(scaler.transform(x_test))


def scaled_inside(x, y, x_test):
    """The same: the model's own scaler, adapted to the training rows."""
    model = network(x.shape[1], y.max() + 1, bp.MinMaxScaler())
    model.adapt(x)
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    return model.predict(x_test)


def unscaled(x, y, x_test):
    """Without any scaling."""
    model = network(x.shape[1], y.max() + 1)
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    return model.predict(x_test)


def cross_validation(x, y, way, folds=5):
    """Probabilities of every row from the model that has not seen it, and each fold's accuracy."""
    found, right = np.zeros((len(x), y.max() + 1)), []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(x, y):
        found[test] = way(x[train], y[train], x[test])
        right.append(float((found[test].argmax(axis=1) == y[test]).mean()))
    return found, right


def main(path=None):
    """Print the accuracy of every way."""
    if path is None:
        x, y = load_wine(return_X_y=True)
    else:
        table = bp.datasets.load_csv(path, -1)
        x, y = table.x, table.y
    for way in (unscaled, scaled_beside, scaled_inside):
        _, right = cross_validation(x, y, way)
        print(
            f"{way.__name__:<14} {mean(right):6.2%}   folds " + " ".join(f"{r:.1%}" for r in right)
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
