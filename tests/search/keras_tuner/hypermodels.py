"""HyperModels as people write them for KerasTuner; a test finds this file in its current folder, as a user's own would be."""

import keras
import keras_tuner
import numpy as np


def layers_by_number(hp):
    """A dense classifier: how many layers there are decides which hyperparameters there are."""
    model = keras.Sequential([keras.layers.Flatten()])
    for layer in range(hp.Int("num_layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int(f"units_{layer}", 8, 32, step=8), hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(0.25))
    model.add(keras.layers.Dense(3, "softmax"))
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class TunedTraining(keras_tuner.HyperModel):
    """Tunes the learning rate and the augmentation where it trains."""

    def build(self, hp):
        size = hp.Int("size", 6, 8)
        layers = [keras.Input((size, size, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential(layers)
        model.compile(hp.Fixed("optimizer", "sgd"), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        model.optimizer.learning_rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
        if hp.Boolean("flip"):
            x = np.concatenate([x, x[:, :, ::-1]])
            y = np.concatenate([y, y])
        size = hp.get("size")
        if validation_data:
            validation_data = (validation_data[0][:, :size, :size], validation_data[1])
        return model.fit(x[:, :size, :size], y, validation_data=validation_data, shuffle=hp.Boolean("shuffle"), **kwargs)


class OwnLoop(keras_tuner.HyperModel):
    """Trains in a loop of its own, tells the callbacks, and returns one number."""

    def build(self, hp):
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 3))])

    def fit(self, hp, model, x, callbacks=None, **kwargs):
        for callback in callbacks:
            callback.set_model(model)
        distance = abs(hp.Float("shift", -1.0, 1.0)) + float(np.mean(x))
        for epoch in range(3):
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"distance": distance / (epoch + 1)})
        return distance / 3


class AsksForEpochs(keras_tuner.HyperModel):
    """Tunes how long it trains, where it trains."""

    def build(self, hp):
        return TunedTraining().build(hp)

    def fit(self, hp, model, **kwargs):
        return model.fit(batch_size=40, epochs=hp.Int("epochs", 1, 9), **kwargs)


class Typo(keras_tuner.HyperModel):
    """Has a mistake."""

    def build(self, hp):
        return None

    def fit(self, hp, model, **kwargs):
        hp.Int("epochs", 1, 9)
        raise TypeError("of the user's own")


class ScopedTraining(keras_tuner.HyperModel):
    """Has parameters in scopes: in one, in one within another, and one name in two."""

    def build(self, hp):
        kind = hp.Choice("kind", ["mlp", "cnn"])
        layers = [keras.Input((8, 8, 1))]
        with hp.conditional_scope("kind", ["cnn"]):
            if kind == "cnn":
                layers.append(keras.layers.Conv2D(hp.Int("filters", 4, 8, step=4), 3))
                deep = hp.Boolean("deep")
                with hp.conditional_scope("deep", [True]):
                    if deep:
                        layers.append(keras.layers.Conv2D(hp.Int("deep_filters", 4, 8, step=4), 3))
                layers.append(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.25)))
        layers.append(keras.layers.Flatten())
        with hp.conditional_scope("kind", ["mlp"]):
            if kind == "mlp":
                layers.append(keras.layers.Dense(hp.Int("units", 8, 16, step=8)))
                layers.append(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.25)))
        model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class Returns(keras_tuner.HyperModel):
    """Returns what it is made with."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def build(self, hp):
        return None

    def fit(self, hp, model, **kwargs):
        return self.result


def load_images():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 60)
    x = generator.random((60, 8, 8, 1), "float32") + y[:, None, None, None]
    return {"x": x[:40], "y": y[:40], "validation_data": (x[40:], y[40:])}


def load_ones():
    return {"x": np.ones((4, 2), "float32")}


def load_a_list():
    return [1, 2]
