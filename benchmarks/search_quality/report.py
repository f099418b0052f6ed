"""All runs as a table, as JSON and as a plot."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from scipy.stats import wilcoxon

from benchmarks import kept
from benchmarks.search_quality.contenders import OURS
from benchmarks.search_quality.records import STACKS, Finished, Run, Task
from tumorcls.model.backend import package_versions

_SMALLEST = 1e-3
"""The least regret that is shown."""


@dataclass(frozen=True)
class Report:
    """All runs of one task, to be told in three ways."""

    task: Task
    runs: tuple[Run, ...]

    @property
    def names(self) -> list[str]:
        """Who ran, this project first."""
        return sorted({run.contender for run in self.runs}, key=lambda name: (name != OURS, name))

    def of(self, contender: str) -> list[Run]:
        return sorted((run for run in self.runs if run.contender == contender), key=lambda run: run.seed)

    def areas(self, contender: str) -> dict[int, float]:
        """Returns the area of each run by its seed."""
        return {run.seed: run.area(self.task.seconds) for run in self.of(contender)}

    def later_areas(self, contender: str) -> dict[int, float]:
        """Returns the area of each run from an eighth of the time on, so that who is there first does not count."""
        return {run.seed: run.area(self.task.seconds, self.task.seconds / 8) for run in self.of(contender)}

    def bests(self, contender: str) -> dict[int, float]:
        """Returns the best validation score of each run by its seed."""
        return {run.seed: run.best for run in self.of(contender)}

    def speed_ups(self) -> list[str]:
        """Returns a line for each peer: how soon ours and the peer itself have the peer's median final score."""
        lines = [
            f"{'':24}{'final score':>12}{'its own time':>14}{'our time':>11}{'share':>8}{'95%':>16}{'never':>9}   (medians)"
        ]
        for peer in self.names:
            pairs = self.pairs(peer)
            if not pairs or not (times := speed_up(pairs)).score:
                continue
            low, high = share_interval(pairs)
            never = sum(ours.time_to(times.score) == np.inf for ours, _ in pairs)
            lines.append(
                f"{peer:24}{times.score:12.4f}{times.own_s:12.1f} s{times.our_s:9.1f} s{times.share:8.2f}"
                f"{f'{low:.2f} to {high:.2f}':>16}{f'{never} of {len(pairs)}':>9}"
            )
        return lines

    def pairs(self, peer: str) -> list[tuple[Run, Run]]:
        """Returns our run and a peer's for each seed that both have; none for ourselves."""
        ours = {run.seed: run for run in self.of(OURS)}
        return [(ours[run.seed], run) for run in self.of(peer) if peer != OURS and run.seed in ours]

    def p_values(self, measured: Callable[[str], dict[int, float]]) -> dict[str, float]:
        """Returns for each peer how likely so large a difference is where there is none; corrected for the number of peers."""
        ours = measured(OURS)
        found = {}
        for peer in self.names:
            theirs = measured(peer)
            differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
            if peer != OURS and len(differences) > 1:
                found[peer] = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
        corrected, highest = {}, 0.0
        for rank, (peer, p) in enumerate(sorted(found.items(), key=lambda item: item[1])):
            highest = max(highest, min(1.0, p * (len(found) - rank)))
            corrected[peer] = highest
        return corrected

    def table(self) -> str:
        settings = self.task.shown()["settings"]
        metric = self.task.metric.replace("_f1", " F1")
        lines = [
            f"{self.task.seconds:g} s a run on one core, {' + '.join(settings['data'])} at {settings['image_size']} pixels, "
            f"trained from {settings['trainable_from']} on, {STACKS[self.task.stacks]}",
            f"{'':24}{'seeds':>6}{'trials':>8}{'finished':>9}{'area':>16}{'p':>7}{'from 1/8 on':>17}{'p':>7}"
            f"{f'best {metric}':>17}{'p':>7}{f'test {metric}':>17}",
        ]
        area_p, later_p, best_p = map(self.p_values, (self.areas, self.later_areas, self.bests))
        for name in self.names:
            runs = self.of(name)
            area = f"{_spread(self.areas(name).values()):>16}{_rounded(area_p, name):>7}"
            later = f"{_spread(self.later_areas(name).values()):>17}{_rounded(later_p, name):>7}"
            best = f"{_spread(self.bests(name).values()):>17}{_rounded(best_p, name):>7}"
            test = f"{_spread(run.test_score for run in runs if run.test_score is not None):>17}"
            begun, finished = np.mean([run.begun for run in runs]), np.mean([len(run.finished) for run in runs])
            lines.append(f"{name:24}{len(runs):6}{begun:8.1f}{finished:9.1f}{area}{later}{best}{test}")
        lines.append("mean ± standard deviation over the seeds; p: of Wilcoxon's test that this project's differs")
        lines += ["", *self.speed_ups()]
        lines.append(
            "the peer's own time is that of its runs that have that score at all, half of them; 95%: bootstrap over seeds"
        )
        return "\n".join(lines)

    def plot(self) -> go.Figure:
        """The median of how far the best score so far is below the best of all runs, with the band between the quartiles."""
        figure = go.Figure()
        times = np.linspace(0.0, self.task.seconds, 400)
        best = max((run.best for run in self.runs), default=1.0)
        for number, name in enumerate(self.names):
            runs = self.of(name)
            curves = np.array([np.where((curve := run.best_by(times)) > 0, curve, np.nan) for run in runs])
            enough = np.isfinite(curves).all(axis=0)
            low, middle, high = np.percentile(np.maximum(best - curves[:, enough], _SMALLEST), (25, 50, 75), axis=0)
            colour = f"hsl({number * 51}, 65%, 45%)"
            band = f"hsla({number * 51}, 65%, 45%, 0.15)"
            x = times[enough]
            outline = {
                "x": np.concatenate([x, x[::-1]]),
                "y": np.concatenate([high, low[::-1]]),
                "line_width": 0,
                "mode": "lines",
            }
            figure.add_scatter(**outline, fill="toself", fillcolor=band, hoverinfo="skip", showlegend=False, legendgroup=name)
            figure.add_scatter(x=x, y=middle, name=name, mode="lines", line_color=colour, legendgroup=name)
        return figure.update_layout(
            title="Regret of the best validation score so far: median and quartiles over seeds",
            xaxis_title="seconds",
            yaxis={"title": "best score below that of all runs", "type": "log"},
            template="plotly_white",
        )

    def write(self, folder: Path) -> None:
        """Writes table and JSON."""
        self.write_runs(folder)
        (folder / "search_quality.txt").write_text(f"{self.table()}\n{kept.machine()}\n")

    def write_runs(self, folder: Path) -> None:
        """Writes the runs as JSON, in no time: what else there is to compute would take it from the run that goes on."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "machine": kept.machine(),
            "versions": package_versions(),
            **self.task.shown(),
            "p_values": {"area": self.p_values(self.areas), "best": self.p_values(self.bests)},
        }
        runs = ",\n".join(json.dumps({**asdict(run), "area": run.area(self.task.seconds)}) for run in self.runs)
        head = json.dumps(document, indent=1).removesuffix("\n}")
        (folder / "search_quality.json").write_text(f'{head},\n "runs": [\n{runs}\n]}}\n')  # a line for each run


@dataclass(frozen=True)
class SpeedUp:
    """When a peer's median final score is there, in seconds: the median of the peer's runs that have it, and of all of ours."""

    score: float
    own_s: float
    our_s: float

    @property
    def share(self) -> float:
        return self.our_s / self.own_s


def speed_up(pairs: Sequence[tuple[Run, Run]]) -> SpeedUp:
    """Returns it of our runs, each with a peer's."""
    score = float(np.median([peer.best for _, peer in pairs]))
    reached = [seconds for _, peer in pairs if (seconds := peer.time_to(score)) < np.inf]
    return SpeedUp(score, _median(reached), _median([ours.time_to(score) for ours, _ in pairs]))


def share_interval(pairs: Sequence[tuple[Run, Run]], resamples: int = 1000) -> tuple[float, float]:
    """Returns a 95% bootstrap interval of the share: seeds are drawn again, and with them the score that is waited for."""
    drawn = np.random.default_rng(0).integers(len(pairs), size=(resamples, len(pairs)))
    shares = [speed_up([pairs[index] for index in row]).share for row in drawn]
    low, high = np.nanpercentile(shares, (2.5, 97.5), method="inverted_cdf")  # no mean of a number and inf
    return float(low), float(high)


def _median(seconds: Sequence[float]) -> float:
    return float(np.median(seconds)) if seconds else float("inf")


def _spread(values: Iterable[float]) -> str:
    many = list(values)
    if not many:
        return "-"
    return f"{np.mean(many):.4f} ± {np.std(many, ddof=1) if len(many) > 1 else 0.0:.4f}"


def _rounded(p_values: Mapping[str, float], name: str) -> str:
    return f"{p_values[name]:.3f}" if name in p_values else ""


def read_runs(path: Path, task: Task) -> tuple[Run, ...]:
    """Returns the runs of this task that were written before; see `kept.read_runs`."""
    kept_runs = kept.read_runs(path, task.shown())
    runs = [{key: value for key, value in run.items() if key != "area"} for run in kept_runs]
    return tuple(Run(**{**run, "winner": run["winner"] and Finished(**run["winner"])}) for run in runs)
