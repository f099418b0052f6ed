"""A study as TensorBoard's event files: a folder for each trial, its scalars, and what the HParams tab goes by.

Written with TensorBoard's own messages but without its writers, which import TensorFlow. What a file holds is compared with
what it must hold: more is appended, so that a TensorBoard that shows it goes on; a file that was cut or says something else is
written anew.
"""

import contextlib
import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Value
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from search.files import replacing
from search.results.tracking.projection import Point, StudyRun, TrialRun, reported_as
from search.results.tracking.tracker import TrackerError
from search.text import file_name

_FILE = "events.out.tfevents.{began}.search"
_BEGAN = re.compile(r"events\.out\.tfevents\.(\d+)\.search")
_ID_FILE = ".search-study"
_TRIAL = re.compile(r"trial-\d{4,}")
_LONGEST_CELL = 1000  # characters
_LARGEST_PICTURE = 2**20  # bytes: the files of a study are read whole to be compared
_PICTURES = ("PNG", "JPEG", "GIF", "BMP")
_HEADER, _CRC = struct.Struct("<Q"), struct.Struct("<I")


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrackerError(error.strerror or str(error)) from error


class TensorBoardRuns:
    """A `Tracker`: the folder that ``tensorboard --logdir`` is given, where the study gets one of its own."""

    def __init__(self, folder: Path) -> None:
        self.name = f"TensorBoard's folder {folder}"
        self._folder = folder
        self._study = folder
        self._foreign: frozenset[Path] = frozenset()

    @_failures()
    def open(self, study: StudyRun) -> Mapping[int, str]:
        """Takes the study's folder; what another study of the same name has left in it goes. See `Tracker`."""
        self._study = self._folder / file_name(study.name)
        self._study.mkdir(parents=True, exist_ok=True)
        mark = self._study / _ID_FILE
        before = mark.read_bytes() if mark.exists() else None
        self._foreign = frozenset(_files_of(self._study) if before is None else ())
        if before != study.id.encode():
            for file in _files_of(self._study) if before is not None else ():
                file.unlink()
            with replacing(mark) as file_of_id:
                file_of_id.write(study.id.encode())
        return {}  # comparing costs little

    @_failures()
    def send_study(self, study: StudyRun) -> None:
        """See `Tracker`."""
        path, began = self._file_in(self._study, study.began)
        _bring(path, [_event(began, _experiment(study, began)), *map(_reported, study.points)])

    @_failures()
    def send_trial(self, trial: TrialRun) -> bool:
        """See `Tracker`."""
        folder = self._study / f"trial-{trial.number:04d}"
        folder.mkdir(exist_ok=True)
        path, began = self._file_in(folder, trial.began)
        events = [_event(began, _session_start(trial, began)), *map(_reported, trial.points)]
        if trial.is_over:
            pictures = [_picture(name, path) for name, path in trial.files.items()]
            shown = (_notes(trial), *pictures, _session_end(trial))
            events += [_event(trial.ended, summary) for summary in shown if summary is not None]
        return _bring(path, events)

    def _file_in(self, folder: Path, began: float) -> tuple[Path, float]:
        """Returns the event file of a run, and when that began: what goes on after a pause begins anew, but not its file."""
        named = {path: int(match[1]) for path in folder.glob("events*") if (match := _BEGAN.fullmatch(path.name))}
        found = sorted(named.keys() - self._foreign, key=lambda path: named[path])
        first, *others = found or [folder / _FILE.format(began=int(began))]
        for path in others:
            path.unlink()
        return first, float(named.get(first, int(began)))


def _files_of(study: Path) -> list[Path]:
    """The event files of a study and its trials; another study may have a folder among theirs, which then has a mark."""
    trials = (path for path in study.glob("trial-*") if _TRIAL.fullmatch(path.name) and not (path / _ID_FILE).exists())
    return [file for folder in (study, *trials) for file in folder.glob(_FILE.format(began="*"))]


def _bring(path: Path, wanted: Sequence[Event]) -> bool:
    """Has a file hold these events, and no others; returns whether it did not."""
    content = path.read_bytes() if path.exists() else b""
    held, whole = _read(content)
    events = [Event(file_version="brain.Event:2"), *wanted]
    goes_on = bool(held) and whole == len(content) and [*map(_said, held)] == [*map(_said, events[: len(held)])]
    new = b"".join(_framed(event.SerializeToString()) for event in events[len(held) if goes_on else 0 :])
    if not goes_on:
        with replacing(path) as anew:
            anew.write(new)
    elif new:
        with path.open("ab") as file:
            file.write(new)
    return bool(new)


def _read(content: bytes) -> tuple[list[Event], int]:
    """Returns the events of a file up to its end, or to the first that is damaged, and where that is."""
    events: list[Event] = []
    at = 0
    while at + _HEADER.size + _CRC.size <= len(content):
        (length,) = _HEADER.unpack_from(content, at)
        end = at + _HEADER.size + length + 2 * _CRC.size
        data = content[at + _HEADER.size + _CRC.size : end - _CRC.size]
        if end > len(content) or content[at:end] != _framed(data):
            break
        try:
            events.append(Event.FromString(data))
        except DecodeError:
            break
        at = end
    return events, at


def _framed(data: bytes) -> bytes:
    """Returns a record as TensorFlow's files have it: length, data, and a checksum of each."""
    header = _HEADER.pack(len(data))
    return header + _CRC.pack(masked_crc32c(header)) + data + _CRC.pack(masked_crc32c(data))


def _said(event: Event) -> tuple[Any, ...]:
    """What an event says; when it was is not compared, as a report is sent before anybody knows how long its trial takes."""
    return event.file_version, event.step, event.summary.SerializeToString(deterministic=True)


def _event(seconds: float, summary: Summary, step: int = 0) -> Event:
    return Event(wall_time=seconds, step=step, summary=summary)


def _reported(point: Point) -> Event:
    return _event(point.seconds, _scalar(point.name, point.value), point.step)


def _scalar(tag: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _picture(name: str, path: Path) -> Summary | None:
    """An artifact as an image; None where it is none of a kind that TensorBoard shows."""
    if path.stat().st_size > _LARGEST_PICTURE:
        return None
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=_PICTURES) as picture:
            width, height = picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # no image, or half of one
        return None
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _notes(trial: TrialRun) -> Summary:
    """The trial's tags as a table of the text tab."""
    cells = {key: " ".join(value.replace("|", " ").split())[:_LONGEST_CELL] for key, value in trial.tags.items()}
    rows = [f"| {key} | {value} |" for key, value in cells.items()]
    text = "\n".join(["| | |", "|---|---|", *rows])
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    tensor.tensor_shape.dim.add(size=1)
    return Summary(value=[Summary.Value(tag="trial", metadata=metadata, tensor=tensor)])


def _session_start(trial: TrialRun, began: float) -> Summary:
    start = SessionStartInfo(start_time_secs=began)
    for name, value in trial.params.items():
        _value(start.hparams[name], value)
    return _hparams("_hparams_/session_start_info", HParamsPluginData(session_start_info=start))


def _session_end(trial: TrialRun) -> Summary:
    status = api_pb2.STATUS_SUCCESS if trial.state in ("complete", "pruned") else api_pb2.STATUS_FAILURE
    end = SessionEndInfo(status=status, end_time_secs=trial.ended)
    return _hparams("_hparams_/session_end_info", HParamsPluginData(session_end_info=end))


def _experiment(study: StudyRun, began: float) -> Summary:
    """What the HParams tab is told of the study: its parameters and their ranges, and the names of its values."""
    parameters = []
    for name, table in study.space.items():
        info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64)
        if table.get("type") == "categorical":
            info.type = _data_type(table["choices"])
            info.domain_discrete.CopyFrom(ListValue(values=[_value(Value(), choice) for choice in table["choices"]]))
        else:
            info.domain_interval.CopyFrom(api_pb2.Interval(min_value=table["low"], max_value=table["high"]))
        parameters.append(info)
    names = [*study.metrics, *([reported_as(study.metrics[0])] if len(study.metrics) == 1 else [])]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name), display_name=name) for name in names]
    experiment = api_pb2.Experiment(
        description=study.name, time_created_secs=began, hparam_infos=parameters, metric_infos=metrics
    )
    return _hparams("_hparams_/experiment", HParamsPluginData(experiment=experiment))


def _data_type(choices: Sequence[Any]) -> Any:
    if all(isinstance(choice, bool) for choice in choices):
        return api_pb2.DATA_TYPE_BOOL
    numbers = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
    return api_pb2.DATA_TYPE_FLOAT64 if numbers else api_pb2.DATA_TYPE_STRING


def _value(into: Any, value: Any) -> Any:
    """Puts a parameter's value into a protobuf `Value`; what is no boolean, number or text, such as None or a list, as text."""
    kind = "bool_value" if isinstance(value, bool) else "number_value" if isinstance(value, int | float) else "string_value"
    setattr(into, kind, str(value) if kind == "string_value" else value)
    return into


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    metadata = create_summary_metadata(data)
    # In the bytes that it writes, the entries of a map have another order in each process.
    plugin = metadata.plugin_data
    plugin.content = HParamsPluginData.FromString(plugin.content).SerializeToString(deterministic=True)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=NULL_TENSOR)])
