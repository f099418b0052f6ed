import dataclasses

import numpy as np
import pytest

from tumorcls.config.file import Member
from tumorcls.training import soup
from tumorcls.training.soup import average, cook, cook_final


@pytest.fixture
def members(make_config):
    return [
        Member(make_config(learning_rate=rate, epochs=epochs), seed, f"trial {seed}")
        for seed, (rate, epochs) in enumerate([(0.001, 1), (0.03, 2), (0.01, 3)])
    ]


def logits_of(trainer, fitted):
    return fitted.program.predict_logits(trainer.images("validation", fitted.config.image_size).images)


def test_where_the_head_alone_is_trained_the_average_is_the_ensemble(trainer, make_config):
    fitted, weights, logits = None, [], []
    for seed in (0, 1):
        fitted = trainer.fit(make_config(views=0), seed, lambda epoch: None)
        weights.append(fitted.program.weights())
        logits.append(logits_of(trainer, fitted))
    fitted.program.set_weights(average([weights[0], weights[1], weights[1]]))
    np.testing.assert_allclose(logits_of(trainer, fitted), (logits[0] + 2 * logits[1]) / 3, rtol=1e-3, atol=1e-3)


def test_the_average_is_no_worse_than_the_best_member_and_is_what_is_left(trainer, members):
    told = []
    cooked = cook(trainer, members, told.append)
    scores = {member.name: trainer.fit(member.config, member.seed, lambda epoch: None).scores for member in members}
    wanted = {name: scored[members[0].config.score[0]] for name, scored in scores.items()}
    assert cooked.best == max(wanted.values())
    assert cooked.counts[0][0].name == max(wanted, key=wanted.get)
    assert cooked.score >= cooked.best
    assert [line.rpartition(" ")[2] for line in told] == [f"{wanted[member.name]:.4f}" for member in members]
    again = cook(trainer, members, told.append)
    assert (again.counts, again.score) == (cooked.counts, cooked.score)
    assert trainer.measure(again.fitted).final_scores == again.fitted.scores, "the program has the averaged weights"
    assert again.fitted.scores[members[0].config.score[0]] == again.score


def worth(monkeypatch, trainer, values):
    """Gives members weights [0], [1], ... and a score to each average of them."""
    programs = [FakeProgram(float(index)) for index in range(len(values))]

    @dataclasses.dataclass
    class Fitted:
        program: object
        config: object
        scores: dict
        epochs: tuple = ("last",)
        last: object = None

    class FakeTrainer:
        def fit(self, config, seed, on_epoch_end, *, final=False):
            programs[seed].value = float(seed)
            return Fitted(programs[seed], config, {"robust_f1": values[seed]})

        def measure(self, fitted):
            return type("Measured", (), {"final_scores": {"robust_f1": trainer(fitted.program.value)}})()

    monkeypatch.setattr(soup, "replace", lambda fitted, **changed: fitted)
    return FakeTrainer()


class FakeProgram:
    def __init__(self, value):
        self.value = value

    def weights(self):
        return [np.array([self.value])]

    def set_weights(self, weights):
        self.value = float(weights[0][0])


@pytest.mark.parametrize(
    ("target", "values", "counts", "line"),
    [
        (0.0, (0.9, 0.8, 0.7), {"trial 0": 1}, "No average is better on validation images than trial 0 alone, 0.9000."),
        (2 / 3, (0.8, 0.9, 0.1), {"trial 1": 2, "trial 0": 1}, "The averaged weights of trial 1 (2 times), trial 0: 1.0000 "),
    ],
)
def test_a_member_counts_as_often_as_it_makes_the_average_better(monkeypatch, make_config, target, values, counts, line):
    members = [Member(make_config(), seed, f"trial {seed}") for seed in range(3)]
    trainer = worth(monkeypatch, lambda value: 1 - abs(value - target), values)
    cooked = cook(trainer, members, lambda line: None)
    assert {member.name: count for member, count in cooked.counts} == counts
    assert cooked.describe().startswith(line)
    assert cooked.fitted.program.weights()[0] == pytest.approx(target)
    final = cook_final(trainer, cooked)
    assert final.program.weights()[0] == pytest.approx(target), "the same members as often"
