"""Callbacks: what happens while a model trains.

``model.fit(x, y, epochs=100, callbacks=[...])`` takes the objects of this module, objects of your
own classes, and plain functions of (epoch, logs), which are called after each epoch::

    model.fit(x, y, epochs=5, callbacks=[lambda epoch, logs: print(epoch, logs["loss"])])

A callback ends the training by setting ``model.stop_training = True``, and sets the learning rate
with ``model.learning_rate = ...``; both are heard between two steps. It may predict, evaluate, save
the model and write to its parameters. An exception in a callback ends the training and comes out of
`fit`; the model then stands after the last step that was done, and can be trained on.

Only what somebody watches costs time: without callbacks for epochs, `fit` runs many epochs per
native call, without callbacks for batches, whole epochs.
"""

from pybp.callbacks.base import Callback, LambdaCallback
from pybp.callbacks.control import EarlyStopping, ReduceLROnPlateau, TerminateOnNaN, TimeLimit
from pybp.callbacks.record import CSVLogger, JSONLogger, ModelCheckpoint

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "JSONLogger",
    "LambdaCallback",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
    "TimeLimit",
]
