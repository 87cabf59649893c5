"""What callbacks write to files: models and logs, and what happens where they cannot."""

import csv
import json
import os
import sys

import numpy as np
import pytest
from interpreter import python
from refusal import CLASSES, X, classifier, refused

import pybp as bp
from pybp.callbacks import CSVLogger, JSONLogger, LambdaCallback, ModelCheckpoint


def fit(model, epochs=4, **settings):
    data = {"epochs": epochs, "batch_size": 8, "verbose": 0, "validation_split": 0.2}
    return model.fit(X, CLASSES, **data | settings)


def whole_state(model):
    tensors = {name: view.tobytes() for name, view in model.tensors().items()}
    return tensors, model.progress.state()


# -- checkpoints -----------------------------------------------------------------------------------


def test_a_checkpoint_after_every_epoch(tmp_path):
    path = tmp_path / "{epoch:02d}-{val_loss:.4f}.safetensors"
    history = fit(classifier(), callbacks=[ModelCheckpoint(path)])
    losses = history.history["val_loss"]
    names = [f"{i:02d}-{loss:.4f}.safetensors" for i, loss in enumerate(losses, 1)]
    assert sorted(os.listdir(tmp_path)) == names
    for done, name in enumerate(names, 1):
        loaded, twin = bp.load(tmp_path / name), classifier()
        fit(twin, done)
        assert whole_state(loaded) == whole_state(twin)


def test_a_checkpoint_goes_on_to_the_bits_of_the_training_that_wrote_it(tmp_path):
    model = classifier()
    fit(model, 6, callbacks=[ModelCheckpoint(tmp_path / "{epoch}.safetensors")])
    loaded = bp.load(tmp_path / "2.safetensors")
    fit(loaded, 4)
    assert whole_state(loaded) == whole_state(model)


@pytest.mark.parametrize("mode, choose", [("auto", np.argmin), ("max", np.argmax)])
def test_only_the_best_is_kept(tmp_path, mode, choose):
    path = tmp_path / "best.safetensors"
    checkpoint = ModelCheckpoint(path, "loss", save_best_only=True, mode=mode)
    history = fit(classifier(), 12, callbacks=[checkpoint])
    best = int(choose(history.history["loss"]))
    assert bp.load(path).progress.epoch == best + 1
    assert (checkpoint.best_epoch, checkpoint.best) == (best, history.history["loss"][best])


def test_a_path_without_fields_is_written_over(tmp_path):
    fit(classifier(), callbacks=[ModelCheckpoint(tmp_path / "m.safetensors")])
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert bp.load(tmp_path / "m.safetensors").progress.epoch == 4


BAD_PATHS = {
    "a field that is not logged": ("{val_los}.st", ValueError, ("val_los", "did you mean")),
    "a field without a name": ("{:d}.st", ValueError, ("{:d}",)),
    "a format that does not fit": ("{loss:d}.st", ValueError, ("{loss:d}",)),
    "an open brace": ("{epoch.st", ValueError, ("{epoch",)),
    "a missing folder": ("absent/{epoch}.st", FileNotFoundError, ("absent", "create")),
    "a folder": ("", IsADirectoryError, ("folder",)),
}


@pytest.mark.parametrize("kind", BAD_PATHS)
def test_a_bad_path_is_refused_before_training(tmp_path, kind):
    path, exception, words = BAD_PATHS[kind]
    checkpoint = ModelCheckpoint(tmp_path / path)
    refused(lambda model: fit(model, callbacks=[checkpoint]), exception, "path", *words)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_written_ends_the_training_and_spares_the_model(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(epoch, logs):
        if epoch == 1:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()

    model, twin = classifier(), classifier()
    with pytest.raises(FileNotFoundError, match="folder"):
        fit(model, callbacks=[remove, ModelCheckpoint(folder / "{epoch}.safetensors")])
    fit(model, 2)
    fit(twin, 4)
    assert whole_state(model) == whole_state(twin)


def test_bad_arguments_of_a_checkpoint():
    with pytest.raises(TypeError):
        ModelCheckpoint(3)
    with pytest.raises(TypeError, match="save_best_only"):
        ModelCheckpoint("m.st", save_best_only="yes")
    refused(
        lambda model: fit(model, callbacks=[ModelCheckpoint("m.st", "acc", save_best_only=True)]),
        ValueError,
        "acc",
        "ModelCheckpoint",
        "Known: accuracy",
    )


# -- logs ------------------------------------------------------------------------------------------

COLUMNS = ["epoch", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"]


def read(path):
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
    return [json.loads(line) for line in path.read_text().splitlines()]


LOGGERS = pytest.mark.parametrize("kind, name", [(CSVLogger, "a.csv"), (JSONLogger, "a.jsonl")])


@LOGGERS
def test_a_record_per_epoch_digit_by_digit(tmp_path, kind, name):
    model, path = classifier(), tmp_path / name
    model.compile(bp.optim.SGD(bp.schedules.Cosine(0.1, 8)), "cross_entropy", ["accuracy"])
    history = fit(model, callbacks=[kind(path)])
    records = read(path)
    assert [list(record) for record in records] == [COLUMNS] * 4
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert [record["learning_rate"] for record in records] == history.learning_rate
    for column, values in history.history.items():
        assert [record[column] for record in records] == values
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds) and 0 <= seconds[-1] <= history.seconds


@LOGGERS
def test_every_line_is_written_at_once(tmp_path, kind, name):
    path, found = tmp_path / name, []
    fit(classifier(), callbacks=[kind(path), lambda epoch, logs: found.append(len(read(path)))])
    assert found == [1, 2, 3, 4]


@LOGGERS
@pytest.mark.parametrize("append", [True, False])
def test_appended_or_written_anew(tmp_path, kind, name, append):
    model, logger = classifier(), kind(tmp_path / name, append=append)
    fit(model, 2, callbacks=[logger])
    fit(model, 2, callbacks=[logger])
    epochs = [record["epoch"] for record in read(tmp_path / name)]
    assert epochs == ([1, 2, 3, 4] if append else [3, 4])


@LOGGERS
def test_a_torn_last_line_spoils_no_other(tmp_path, kind, name):
    path = tmp_path / name
    fit(classifier(), 2, callbacks=[kind(path)])
    path.write_text(path.read_text()[:-20])
    fit(classifier(), 2, callbacks=[kind(path, append=True)])
    lines = path.read_text().splitlines()
    assert len(lines) == 4 + (kind is CSVLogger)
    assert lines[-1].lstrip('{"epoch: ').startswith("2,")


@LOGGERS
@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b"[1, 2]\n"])
def test_a_foreign_file_is_not_appended_to(tmp_path, kind, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    logger = kind(path, append=True)
    refused(lambda model: fit(model, callbacks=[logger]), ValueError, "append", name)
    assert path.read_bytes() == content


def test_a_csv_file_with_other_columns_is_not_appended_to(tmp_path):
    path = tmp_path / "a.csv"
    fit(classifier(), 1, callbacks=[CSVLogger(path)])
    logger = CSVLogger(path, append=True)
    words = ("columns", "val_loss", "append=False")
    refused(lambda model: fit(model, validation_split=0.0, callbacks=[logger]), ValueError, *words)


@LOGGERS
@pytest.mark.parametrize("where", ["absent/a", "file/a", "folder"])
def test_a_file_that_cannot_be_opened_is_an_error_before_training(tmp_path, kind, name, where):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    logger = kind(tmp_path / where)
    refused(lambda model: fit(model, callbacks=[logger]), OSError, where.split("/")[0])


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs files that are locked"
)
@LOGGERS
def test_a_locked_file_is_an_error_before_training(tmp_path, kind, name):
    (tmp_path / name).write_text("")
    (tmp_path / name).chmod(0o400)
    refused(lambda model: fit(model, callbacks=[kind(tmp_path / name)]), PermissionError, name)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@LOGGERS
def test_a_full_disk_ends_the_training_and_spares_the_model(kind, name):
    """CSV fails with its header, before the training; JSON lines with the first epoch."""
    model, twin = classifier(), classifier()
    with pytest.raises(OSError, match="No space left"):
        fit(model, callbacks=[kind("/dev/full")])
    done = model.progress.epoch
    assert done == (0 if kind is CSVLogger else 1)
    fit(model, 4 - done)
    fit(twin, 4)
    assert whole_state(model) == whole_state(twin)


@LOGGERS
def test_a_log_stays_where_it_began(tmp_path, monkeypatch, kind, name):
    """Also when the program goes to another folder in between."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def leave(epoch, logs):
        os.chdir(tmp_path / "elsewhere")

    fit(classifier(), callbacks=[leave, kind(name)])
    assert len(read(tmp_path / name)) == 4
    assert not os.listdir(tmp_path / "elsewhere")


def test_nan_is_null_in_json(tmp_path):
    """A number that JSON does not know stays no number."""
    logger = JSONLogger(tmp_path / "a.jsonl")
    fit(
        classifier(),
        1,
        callbacks=[
            LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(loss=np.nan)),
            logger,
        ],
    )
    (record,) = read(tmp_path / "a.jsonl")
    assert record["loss"] is None and record["accuracy"] >= 0


def test_a_killed_training_leaves_its_log_and_its_last_checkpoint(tmp_path):
    """The process dies between two epochs without a word: nothing is half written."""
    python(
        """
        import os, sys
        import numpy as np
        import pybp as bp
        from pybp.callbacks import CSVLogger, ModelCheckpoint
        os.chdir(sys.argv[1])
        x = np.random.default_rng(0).normal(size=(20, 4))
        model = bp.Sequential([bp.Input(4), bp.Dense(1)])
        model.compile(loss="mse")
        def die(epoch, logs):
            if epoch == 2:
                os._exit(0)
        callbacks = [CSVLogger("a.csv"), ModelCheckpoint("m.safetensors"), die]
        model.fit(x, x[:, 0], epochs=9, callbacks=callbacks, verbose=0)
        """,
        tmp_path,
    )
    assert [record["epoch"] for record in read(tmp_path / "a.csv")] == [1, 2, 3]
    assert bp.load(tmp_path / "m.safetensors").progress.epoch == 3
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "m.safetensors"]
