import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tumorcls.errors import ModelError
from tumorcls.inference.activation_map import Explainer
from tumorcls.model import saved_model
from tumorcls.model.calibration import softmax
from tumorcls.model.ensemble import join, most_members
from tumorcls.model.gate import gate_features
from tumorcls.model.model_file import CARD
from tumorcls.model.saved_model import load_model

COUNTS = (1, 2)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


def outputs(network, images):
    """Returns logits, probabilities, what is pooled, and what a gate judges; without the seconds that compiling takes."""
    logits, pooling = network.get_layer("logits"), network.get_layer("avg_pool")
    model = keras.Model(network.input, [logits.output, network.output, pooling.input, gate_features(network)])
    return [np.asarray(output) for output in model(images, training=False)]


@pytest.fixture(scope="module")
def network(untrained):
    """A network whose weights the tests of this module may change."""
    copy = keras.models.clone_model(untrained.network)
    copy.set_weights(untrained.network.get_weights())
    logits = copy.get_layer("logits")
    kernel, _ = logits.get_weights()
    logits.set_weights([kernel / 500, np.linspace(-1, 1, 4)])  # so that no probability is all but 0 or 1
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.full(3, 0.01), np.ones(3), np.int32(7)])
            layer.finalize_state()
    return copy


def members_of(network):
    """Yields the network twice, each time as if it had been trained from block 7 on."""
    layers = [layer for layer in network.layers if layer.name.startswith(("block7", "top_", "logits")) and layer.weights]
    for seed in (1, 2):
        draw = np.random.default_rng(seed)
        for layer in layers:
            layer.set_weights(
                [(value * draw.uniform(0.5, 1.5, value.shape)).astype(np.float32) for value in layer.get_weights()]
            )
        yield network


@pytest.fixture(scope="module")
def joined(untrained, network, pictures):
    """A model of two members, and what each gives alone: logits, and what it pools."""
    alone = []

    def members():
        for member in members_of(network):
            alone.append(([*outputs(member, pictures)], np.array(member.get_layer("logits").kernel)))
            yield member

    model = replace(
        untrained,
        network=join(members(), COUNTS, "block7"),
        config=untrained.config.model_copy(update={"trainable_from": "block7"}),
        provenance={"held": "trial 0 x 1, trial 1 x 2"},
        members=2,
    )
    return model, alone


@pytest.fixture(scope="module")
def saved(joined, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "model.keras"
    joined[0].save(path)
    return path


@pytest.fixture(scope="module")
def loaded(saved):
    return load_model(saved)


@pytest.fixture(scope="module")
def answers(loaded, pictures):
    return outputs(loaded.network, pictures)


def test_it_answers_with_the_mean_of_its_members_logits(joined, pictures):
    model, ((first, _), (second, _)) = joined
    assert np.abs(first[0] - second[0]).max() > 0.1, "they differ"
    logits, probabilities, *_ = outputs(model.network, pictures)
    assert probabilities.max() < 0.999
    mean = (first[0] + 2 * second[0]) / 3
    np.testing.assert_allclose(logits, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(probabilities, softmax(mean), atol=1e-5)


def test_it_comes_back_as_it_was(joined, loaded, answers, pictures):
    model, _ = joined
    assert (loaded.members, loaded.provenance, loaded.sha256) == (2, model.provenance, model.sha256)
    np.testing.assert_array_equal(answers[1], outputs(model.network, pictures)[1])


def test_keras_alone_opens_it(saved, answers, pictures):
    alone = keras.saving.load_model(saved)
    np.testing.assert_array_equal(np.asarray(alone(pictures, training=False)), answers[1])
    assert {type(layer).__module__.partition(".")[0] for layer in alone.layers} == {"keras"}


def test_a_map_is_the_sum_of_the_members_maps(loaded, joined, answers, pictures):
    explained = Explainer(loaded.network).explain(pictures)
    np.testing.assert_allclose(explained.probabilities, answers[1], atol=2e-2)  # compiled, and not
    likeliest = explained.probabilities.argmax(axis=1)
    maps = sum(
        count / 3 * np.einsum("nhwc,cn->nhw", pooled, kernel[:, likeliest])
        for count, ((*_, pooled, _), kernel) in zip(COUNTS, joined[1], strict=True)
    ).clip(0)
    peaks = maps.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explained.maps, maps / np.where(peaks > 0, peaks, 1), atol=2e-2)


def test_what_members_share_is_there_once_and_the_gate_looks_at_it(loaded, joined, answers):
    names = [layer.name for layer in loaded.network.layers]
    assert "member2_block7a_expand_conv" in names
    assert not [name for name in names if name.startswith("member2_block6")]
    np.testing.assert_array_equal(answers[3], joined[1][0][0][3])


@pytest.mark.parametrize(
    ("members", "start"),
    [("3", "all"), ("9", "block7"), (str(2**64), "block7"), ("0", "all"), ("-1", "all"), ("1.5", "all"), ("2", "head")],
)
def test_more_members_than_a_file_has_weights_for_are_one_line(network, saved, tmp_path, monkeypatch, members, start):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(saved) as ours, zipfile.ZipFile(path, "w") as archive:
        for name in ours.namelist():
            content = ours.read(name)
            if name == CARD:
                card = content.decode().replace('"members": 2', f'"members": {members}').replace('"block7"', f'"{start}"')
                content = card.encode()
            archive.writestr(name, content)
    monkeypatch.setattr(saved_model, "build_network", lambda *args, **kwargs: network)
    monkeypatch.setattr(saved_model, "build_ensemble", lambda *args: pytest.fail("a network was built"))
    with pytest.raises(ModelError, match=r"must be a model saved by `tumorcls train`; .*members") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_where_the_head_alone_is_trained_there_is_nothing_to_hold(network):
    assert most_members(network, "head", 2**30) == 1


def test_a_second_whole_network_takes_as_much_as_the_first(network):
    assert most_members(network, "all", 2 * 4 * network.count_params()) == 2
    assert most_members(network, "block7", 2 * 4 * network.count_params()) == 4
    assert most_members(network, "block7", 0) == 1
