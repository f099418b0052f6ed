"""What a person may call a study: a study file, with ``#NAME`` where it has another name, or a storage's URL with ``#NAME``."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import optuna

from search.errors import StudyError
from search.records.attributes import is_warm
from search.storage.errors import storage_errors
from search.storage.open import close, open_study, snapshot
from search.storage.place import open_launched
from search.storage.url import FILES, hide_password
from search.study_file.load import StudySpec, load, renamed
from search.text import show_path

# USER:PASSWORD@ as SQLAlchemy reads it; in HOST:PORT/DATABASE#NAME, an @ is the name's.
_USER = re.compile(r"[^:/@]*(:(?!\d+/)[^@]*)?@")


@dataclass(frozen=True)
class Opened:
    """A study that is open, of the storage `url`.

    Its file, `spec`, is None where a URL named it; `typed` are the words that name it on a command line.
    """

    study: optuna.Study
    url: str
    spec: StudySpec | None
    writable: bool = False
    typed: str = ""


def as_typed(study: str | Path, *options: str, storage: str | None = None) -> str:
    """Returns the words that name a study on a command line, for whoever copies them from a message; passwords are hidden.

    The study is a path or a URL, either of which may end in ``#NAME``; `options` are further words, such as ``--as NAME``.
    """
    if "://" in str(study):
        url, name = split_name(str(study))
        study = hide_password(url) + (f"#{name}" if name else "")
    return " ".join(map(_quoted, [show_path(study), *options, *(("--storage", hide_password(storage)) if storage else ())]))


def _quoted(word: str) -> str:
    """Returns a word as a shell takes it; a # begins a comment only where it begins a word."""
    rest = word.replace("#", "")
    return word if shlex.quote(rest) == rest and not word.startswith("#") else shlex.quote(word)


def split_label(argument: str) -> tuple[str | None, list[str]]:
    """Returns the label of ``LABEL=STUDY,STUDY``, None where there is none, and the studies.

    What holds a slash or a colon before its first ``=`` is a path or a URL, not a label.
    """
    label, equals, studies = argument.partition("=")
    if not equals or not label or {"/", ":"} & set(label):
        return None, [argument]
    return label, [study for study in studies.split(",") if study]


def open_reference(text: str, storage: str | None = None, *, writable: bool = False) -> Opened:
    """Opens the study that `text` means, the path of a study file, or a storage's URL.

    Either may end in ``#NAME``; a URL must where there are several. A `storage` is meant instead of the study file's.

    Raises:
        SearchError: The file, the storage or the study is not there or not what it must be.
    """
    if "://" not in text:
        spec = load_named(text)
        study, url = open_launched(spec, storage, writable=writable)
        return Opened(study, url, spec, writable, as_typed(text, storage=storage))
    url, name = split_name(text)
    if storage is not None:
        raise StudyError(f"{hide_password(url)}: --storage goes with a study file; got a storage's URL. Remove one of them.")
    return Opened(open_study(url, name or None, writable=writable), url, None, writable, as_typed(text))


def load_named(text: str) -> StudySpec:
    """Reads ``STUDY.toml``, or ``STUDY.toml#NAME``: what ``search launch STUDY.toml --as NAME`` runs; imports none of its code.

    Raises:
        StudyFileError: The file cannot be read, breaks a rule, or the name does.
    """
    path, mark, name = text.rpartition("#")
    if not mark or "/" in name or Path(text).exists():
        return load(Path(text), imports=False)
    return renamed(load(Path(path), imports=False), name, text)


def read_sources(text: str, url: str) -> list[optuna.Study]:
    """Reads the studies that another one is to learn from: ``STUDY,STUDY``, each a name in the storage `url`, or a reference.

    Raises:
        SearchError: A file, a storage or a study is not there or not what it must be, or one is named twice.
    """
    texts = [part.strip() for part in text.split(",") if part.strip()]
    twice = next((part for part in texts if texts.count(part) > 1), None)
    if not texts or twice is not None:
        raise StudyError(f"--warm-start: must name studies that differ; got {text!r}. Write STUDY, or STUDY,STUDY.")
    return [_read_source(part, url) for part in texts]


def _read_source(text: str, url: str) -> optuna.Study:
    if "://" in text or Path(text.partition("#")[0]).suffix == ".toml":
        return _read(text)
    return _taken(Opened(open_study(url, text), url, None))


def split_name(text: str) -> tuple[str, str]:
    """Returns the URL and the name of ``URL#NAME``; a ``#`` before the URL's path is a password's.

    A path may have one too: the name begins behind the first that follows an existing file, or else behind the first.
    """
    kind, _, rest = text.partition("://")
    known = _USER.match(rest)
    start = known.end() if known else rest.find("/") + 1
    path = rest[start:]
    marks = [index for index, character in enumerate(path) if character == "#"]
    ends = [*marks, len(path)] if kind in FILES else []
    end = next((index for index in ends if Path(unquote(path[:index])).is_file()), marks[0] if marks else len(path))
    return f"{kind}://{rest[:start]}{path[:end]}", path[end + 1 :]


def read_labelled(arguments: Sequence[str]) -> list[tuple[str, list[optuna.Study]]]:
    """Reads the sides of a comparison: ``STUDY``, or ``LABEL=STUDY,STUDY``.

    A study without a label is called by its name, and by the place of its file or storage too where others have the same.

    Raises:
        SearchError: A study cannot be opened or is named twice, there are fewer than two sides, or two have one label.
    """
    sides: list[tuple[str, list[optuna.Study]]] = []
    for argument in arguments:
        label, texts = split_label(argument)
        if not texts:
            raise StudyError(f"{argument}: a label needs studies; got none. Write {label}=STUDY,STUDY.")
        studies = [_read(text) for text in texts]
        sides.append((label or "", studies))
    if len(sides) < 2:
        raise StudyError(f"compare: needs at least two studies or labels; got {len(sides)}. Name another one.")
    names = [label or studies[0].study_name for label, studies in sides]
    _check_once([(name, study) for name, (_, studies) in zip(names, sides, strict=True) for study in studies])
    labels = [
        name if label or names.count(name) == 1 else f"{name} in {_place(argument)}"
        for name, (label, _), argument in zip(names, sides, arguments, strict=True)
    ]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise StudyError(f"{twice}: each study or label must have its own name; got it twice. Write LABEL=STUDY for one.")
    return list(zip(labels, (studies for _, studies in sides), strict=True))


def _check_once(named: Sequence[tuple[str, optuna.Study]]) -> None:
    """Refuses a study that is there twice, whatever it is called: by file and URL, or with an earlier copy of it.

    Trials tell, by when they began and ended: plain Optuna gives a study no token, and in a copy that is the same.
    """
    seen: list[frozenset[str]] = []
    for label, study in named:
        own = [
            trial for trial in study.get_trials(deepcopy=False) if trial.datetime_complete is not None and not is_warm(trial)
        ]
        ended = frozenset(repr((trial.number, trial.datetime_start, trial.datetime_complete, trial.values)) for trial in own)
        if ended and any(before and (ended <= before or before <= ended) for before in seen):
            got = f'study "{study.study_name}" twice, or a copy of it'
            raise StudyError(f"{label}: each study counts once; got {got}. Leave one out.")
        seen.append(ended)


def _place(text: str) -> str:
    """Returns the folder of a study file, or the storage that a URL names."""
    return hide_password(split_name(text)[0]) if "://" in text else show_path(Path(text).absolute().parent)


def _read(text: str) -> optuna.Study:
    return _taken(open_reference(text))


def _taken(opened: Opened) -> optuna.Study:
    """Returns a study as it is now, and closes its storage."""
    with storage_errors(opened.url):
        taken = snapshot(opened.study)
    close(opened.study)
    return taken
