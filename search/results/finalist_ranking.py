"""Ranks finalists by their mean over seeds, with intervals, and says how much of the search's best value was luck."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from rich.console import Console
from rich.text import Text

from search.records.attributes import finalist_of, is_result, references_of, seed_of
from search.results.ranking import Metric, find_baseline, metrics_of, rank
from search.results.statistics import Interval, mean_interval, paired_interval, same, show_among
from search.results.tables import FoldedTable, print_parts
from search.text import format_params, plain


@dataclass(frozen=True)
class Finalist:
    """A config over its seeds.

    Attributes:
        number: Its trial in the search.
        params: What it was trained with.
        searched: That trial's value; None where it is not COMPLETE.
        values: By seed.
        score: Their mean.
    """

    number: int
    params: Mapping[str, Any]
    searched: float | None
    values: Mapping[int, float]
    score: Interval

    def less(self, other: "Finalist", comparisons: int = 1) -> Interval | None:
        """Returns the mean difference to another, one of so many, over the seeds that both have; None where there is none."""
        seeds = [seed for seed in self.values if seed in other.values]
        mine, others = ([side.values[seed] for seed in seeds] for side in (self, other))
        return paired_interval(mine, others, comparisons) if seeds else None


@dataclass(frozen=True)
class Ranking:
    """The finalists of a study.

    Attributes:
        study: The name of the study that holds them.
        finalists: Those with a value, the fewest seeds without one first, and then the best mean.
        baseline: The number of the finalist that is the baseline; None where none is.
        best: The number of the trial that is the search's best now.
        references: What is reached without a search, by name.
        missing: With how many seeds a finalist has run and has no value, as it failed, was pruned or broke a constraint; by the
            number of its trial, only where there are any.
    """

    study: str
    metric: Metric
    finalists: tuple[Finalist, ...]
    baseline: int | None
    best: int
    references: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[int, int] = field(default_factory=dict)

    @property
    def winner(self) -> Finalist | None:
        """The first one, if it has at least two seeds."""
        first = self.finalists[0] if self.finalists else None
        return first if first is not None and len(first.values) > 1 else None

    @property
    def rivals(self) -> list[Finalist]:
        """Those but the first that could have won."""
        return [other for other in self.finalists[1:] if not self.cannot_win(other.number)]

    def of(self, number: int | None) -> Finalist | None:
        """Returns the finalist of a trial, or None."""
        return next((finalist for finalist in self.finalists if finalist.number == number), None)

    def cannot_win(self, number: int) -> bool:
        """Returns whether a finalist has no value with more seeds than the first one: the mean of the others says too much."""
        return bool(self.finalists) and self.missing.get(number, 0) > self.missing.get(self.finalists[0].number, 0)

    def describe_missing(self, number: int) -> str:
        """Returns what one of `missing` has not, as the end of a sentence."""
        finalist, missing = self.of(number), self.missing[number]
        return f"has no value with {missing} of {missing + (len(finalist.values) if finalist else 0)} seeds"

    def selection_bias(self) -> float | None:
        """Returns by how much the search's best value is better than the mean over seeds; None where not all have one."""
        best = self.of(self.best)
        if best is None or best.searched is None or best.number in self.missing:
            return None
        return self.metric.sign * (best.score.mean - best.searched)

    def describe_choice(self) -> str:
        """Returns why the winner is preferred to the search's best trial, in one line."""
        assert self.winner is not None
        score = f"{plain(self.metric.name)} {self.winner.score} over {len(self.winner.values)} seeds."
        if self.winner.number == self.best:
            return f"{score} It is the search's best trial too."
        if self.best in self.missing:
            return f"{score} The search's best, trial {self.best}, {self.describe_missing(self.best)}."
        best = self.of(self.best)
        if best is None:
            return f"{score} Trial {self.best} did better in the search since: run search finalists again."
        return f"{score} The search's best, trial {self.best}, has {best.score} over {len(best.values)}."

    def level(self) -> list[int]:
        """Returns the trials that cannot be told from the winner: the paired interval of their difference holds 0.

        All these intervals together hold the true differences in 95 of 100 cases.
        """
        if self.winner is None:
            return []
        differences = [(other.number, other.less(self.winner, len(self.rivals))) for other in self.rivals]
        return [number for number, d in differences if d is None or d.half is None or abs(d.mean) <= d.half]


def rank_finalists(source: optuna.Study, linked: optuna.Study) -> Ranking:
    """Returns the ranking of what has been run so far."""
    [metric] = metrics_of(source)
    trials = source.get_trials(deepcopy=False)
    values: dict[int, dict[int, float]] = {}
    params: dict[int, dict[str, Any]] = {}
    ended: set[tuple[int, int]] = set()
    to_end: set[tuple[int, int]] = set()
    for trial in linked.get_trials(deepcopy=False):
        number, seed = finalist_of(trial), seed_of(trial)
        if number is None or seed is None or number >= len(trials):
            continue
        (ended if trial.state.is_finished() else to_end).add((number, seed))
        if is_result(trial):
            values.setdefault(number, {})[seed] = metric.of(trial)
            params[number] = {**trials[number].params, **trial.params}
    missing = Counter(number for number, seed in sorted(ended - to_end) if seed not in values.get(number, ()))
    finalists = []
    for number, of_it in values.items():
        trial = trials[number]
        searched = metric.of(trial) if is_result(trial) else None
        finalists.append(Finalist(number, params[number], searched, of_it, mean_interval(list(of_it.values()))))
    finalists.sort(key=lambda finalist: (missing[finalist.number], metric.sign * finalist.score.mean))
    baseline = find_baseline(source)
    # The best trial may have had the same parameters, and then stands for both.
    params_of_baseline = baseline.params if baseline is not None else None
    as_baseline = (finalist.number for finalist in finalists if trials[finalist.number].params == params_of_baseline)
    references = {name: value for name, (value,) in references_of(source).items()}
    best = rank(trials, [metric])[0].number
    return Ranking(linked.study_name, metric, tuple(finalists), next(as_baseline, None), best, references, missing)


def print_ranking(ranking: Ranking, console: Console | None = None) -> None:
    """Prints the ranking and what it says; to stdout by default."""
    table = FoldedTable()
    table.add_figures("trial", "in the\nsearch", "seeds", "mean", "against\nbaseline")
    table.add_names("parameters")
    baseline = ranking.of(ranking.baseline)
    values = [finalist.searched for finalist in ranking.finalists]
    means = [finalist.score.mean for finalist in ranking.finalists]
    for finalist in ranking.finalists:
        gain = finalist.less(baseline) if baseline is not None and finalist is not baseline else None
        number = f"{finalist.number}{' *' if finalist is baseline else ''}"
        searched = "" if finalist.searched is None else show_among(finalist.searched, values)
        figures = (number, searched, str(len(finalist.values)), finalist.score.among(means), gain.signed() if gain else "")
        table.add_row(*map(Text, (*figures, format_params(finalist.params))))
    print_parts([table, *describe_ranking(ranking)], console)


def describe_ranking(ranking: Ranking) -> Sequence[str]:
    """Returns what the ranking says, line by line."""
    lines = []
    baseline, winner, best = ranking.of(ranking.baseline), ranking.winner, ranking.of(ranking.best)
    bias = ranking.selection_bias()
    if ranking.finalists:
        way = f"{'More' if ranking.metric.maximize else 'Less'} is better; 95% t intervals"
        lines.append(f"{way}." if baseline is None else f"* the baseline. {way}, paired by seed.")
    if ranking.references:
        lines.append(f"Without a search: {', '.join(f'{plain(name)} {v:.4g}' for name, v in ranking.references.items())}.")
    if winner is not None:
        lines.append(
            f"Winner: trial {winner.number}, {plain(ranking.metric.name)} {winner.score} over {len(winner.values)} seeds."
        )
        if level := ranking.level():
            count = len(ranking.rivals)
            corrected = f" (corrected for {count} comparisons)" if count > 1 else ""
            lines.append(
                f"Not to be told from it by these seeds{corrected}: {', '.join(f'trial {number}' for number in level)}."
            )
    for number in ranking.missing:
        out = ", and cannot win" if ranking.cannot_win(number) else ""
        lines.append(f"Trial {number} {ranking.describe_missing(number)}{out}.")
    if best is not None and best.searched is not None and bias is not None:
        half = best.score.half
        amount = f"{abs(bias):.2g}" if half is None else f"{abs(bias):.2g} ± {half:.2g}"
        if same(best.searched, best.score.mean):
            verdict = "no luck, it does the same"
        elif bias < 0:
            verdict = f"no luck, it does {amount} better"
        else:
            verdict = f"{amount} of it was luck{', which cannot be told from none' if half is not None and half > bias else ''}"
        count = len(best.values)
        over = f"{best.score} over {count} seeds" if count > 1 else f"{best.score} with another seed"
        had = show_among(best.searched, [best.score.mean])
        lines.append(f"The search's best, trial {best.number}, had {had} there and {over}: {verdict}.")
    return lines
