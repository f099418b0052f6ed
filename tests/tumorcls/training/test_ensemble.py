import numpy as np
import pytest

from tumorcls.config.file import Member
from tumorcls.errors import ConfigError
from tumorcls.training.ensemble import Ensemble, Run, average, check_keeps, choose, choose_greedily, fit_final, fit_members
from tumorcls.training.trainer import Fitted
from tumorcls.training.validation import Epoch, ValidationScores


@pytest.fixture(scope="module")
def members(make_config):
    return [
        Member(make_config(learning_rate=rate, epochs=epochs), seed, f"trial {seed}")
        for seed, (rate, epochs) in enumerate([(0.001, 1), (0.03, 2), (0.01, 3)])
    ]


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def runs(trainer, make_config, members, told):
    return fit_members(trainer, make_config(), members, told.append)


def test_members_are_measured_and_the_best_is_first(trainer, make_config, members, runs, told):
    scores = [trainer.fit(member.config, member.seed, lambda epoch: None).scores["robust_f1"] for member in members]
    assert told == [f"member {n + 1}/3, trial {n}: robust_f1 {score:.4f}" for n, score in enumerate(scores)]
    assert [run.score for run in runs] == sorted(scores, reverse=True)
    assert runs[0].member.name == f"trial {np.argmax(scores)}"
    assert {run.fitted.config for run in runs} == {make_config()}, "all answer as the model will"


@pytest.mark.parametrize("keep", [False, True])
def test_it_is_no_worse_than_the_best_member_and_answers_as_it_was_measured(trainer, runs, keep):
    ensemble = choose(trainer, runs, keep=keep)
    assert ensemble.counts[0][0] == runs[0].member
    assert ensemble.score >= ensemble.best == runs[0].score
    assert ensemble.fitted.scores["robust_f1"] == ensemble.score
    again = trainer.score_logits(trainer.logits(ensemble.fitted), ensemble.fitted.config)
    assert again.final_scores == pytest.approx(ensemble.fitted.scores, abs=0.01)  # an answer of two that are equal may turn
    assert trainer.calibrate(ensemble.fitted).images == len(trainer.images("validation", 32).labels)


def test_where_the_head_alone_is_trained_averaged_weights_are_averaged_logits(trainer, runs):
    weights = [(run.weights, count) for run, count in zip(runs, (1, 3, 2), strict=True)]
    fitted = runs[0].fitted
    fitted.program.set_weights(average(weights))
    wanted = sum(run.logits * np.float32(count / 6) for run, count in zip(runs, (1, 3, 2), strict=True))
    np.testing.assert_allclose(trainer.logits(fitted), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("keep", [False, True])
def test_the_final_model_is_made_of_the_same_members_as_often(trainer, runs, keep):
    chosen = ((runs[0].member, 1), (runs[1].member, 2))
    final = fit_final(trainer, Ensemble(runs[0].fitted, chosen, 0.5, 0.6, keep))
    weights = []
    for member, count in chosen:
        fitted = trainer.fit(member.config, member.seed, lambda epoch: None, final=True)
        weights.append((fitted.program.weights(), count))
    wanted = weights if keep else [(average(weights), 1)]
    assert [count for _, count in final.members] == [count for _, count in wanted]
    for (arrays, _), (others, _) in zip(final.members, wanted, strict=True):
        for array, other in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(array, other)
    assert (final.config, final.scores) == (runs[0].fitted.config, {})


@pytest.mark.parametrize(
    ("values", "target", "chosen"),
    [
        ((0.0, 1.0, 2.0), 0.0, (0,)),
        ((1.0, 0.0, 9.0), 2 / 3, (0, 0, 1)),
        ((1.0, -1.0, 4.0), 1.0, (0,)),
        ((2.0, 2.0), 2.0, (0, 1)),  # no worse: both
    ],
)
def test_a_member_counts_as_often_as_it_makes_the_mean_better(values, target, chosen):
    asked = []

    def score_of(some):
        asked.append(some)
        return -abs(np.mean([values[index] for index in some]) - target)

    assert choose_greedily(len(values), score_of) == chosen
    assert asked[0] == (0,)


class Judge:
    """A trainer whose runs answer with a number, the better the nearer to a third of 2."""

    def logits(self, fitted):
        return np.average([weights[0] for weights, _ in fitted.members], axis=0, weights=[count for _, count in fitted.members])

    def score_logits(self, logits, config):
        return ValidationScores({}, None, {}, final_scores={"robust_f1": -abs(float(logits[0]) - 2 / 3)})


@pytest.mark.parametrize("keep", [False, True])
def test_a_member_that_counts_twice_is_twice_in_what_answers_and_is_measured(make_config, members, keep):
    config, judge = make_config(), Judge()
    runs = []
    for member, value in zip(members, (1.0, 0.0, 9.0), strict=True):
        answer = np.array([value])
        measured = judge.score_logits(answer, config)
        fitted = Fitted(None, config, (Epoch(0, 0.5, measured),), None, None)
        runs.append(Run(measured.final_scores["robust_f1"], member, fitted, [answer], answer))
    ensemble = choose(judge, runs, keep=keep)
    assert ensemble.counts == ((members[0], 2), (members[1], 1))
    assert (ensemble.best, ensemble.score) == pytest.approx((-1 / 3, 0))
    assert ensemble.fitted.scores["robust_f1"] == ensemble.score
    answers = [(weights[0].tolist(), count) for weights, count in ensemble.fitted.members]
    assert answers == ([([1.0], 2), ([0.0], 1)] if keep else [([pytest.approx(2 / 3)], 1)])


@pytest.mark.parametrize(
    ("counts", "keeps", "line", "provenance"),
    [
        ((1,), False, "No average is better on validation images than trial 0 alone, 0.5000.", {"averaged": "trial 0 x 1"}),
        ((3,), True, "No ensemble is better on validation images than trial 0 alone, 0.5000.", {"held": "trial 0 x 3"}),
        (
            (2, 1),
            False,
            "The averaged weights of trial 0 (2 times), trial 1: 0.6000 on validation images, 0.5000 the best of them alone.",
            {"averaged": "trial 0 x 2, trial 1 x 1"},
        ),
        (
            (1, 2),
            True,
            "The mean of the logits of trial 0, trial 1 (2 times): 0.6000 on validation images, 0.5000 the best of them alone.",
            {"held": "trial 0 x 1, trial 1 x 2"},
        ),
    ],
)
def test_it_says_what_it_is(members, runs, counts, keeps, line, provenance):
    ensemble = Ensemble(runs[0].fitted, tuple(zip(members, counts, strict=False)), 0.5, 0.6, keeps)
    assert ensemble.describe() == line
    assert ensemble.provenance == provenance


def test_more_members_than_a_file_can_hold_are_refused_before_they_train(trainer, make_config):
    backbone = trainer.programs.get(make_config()).backbone
    rule = r"--keep-members: a model's file holds at most {} members with trainable_from = \"{}\"; got {}\. Export fewer, or"
    for start, most in (("all", 7), ("block5", 8), ("block7", 25)):
        check_keeps(backbone, start, most)
        with pytest.raises(ConfigError, match=rule.format(most, start, most + 1)):
            check_keeps(backbone, start, most + 1)
