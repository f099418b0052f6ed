"""What a model's file may hold: all that is read of a `.keras` archive from a stranger is checked here first.

The network's graph in the file (`config.json`) is never read, so nothing in it can be executed: `tumorcls.model.backbone`
builds the network that the card describes, and only numbers are taken from the file. What else Keras would follow (links to
other files, arrays of any size, members that unpack to gigabytes) is refused before it is read.
"""

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from tumorcls.config.train_config import TrainConfig
from tumorcls.config.variables import expand_known, written_parts
from tumorcls.data.hdf5 import UNREADABLE, Limits, open_hdf5
from tumorcls.errors import ConfigError, DataError, ModelError, later_file, newer_version, one_line, reason
from tumorcls.files import read_whole
from tumorcls.model.backbone import finalize_normalization
from tumorcls.model.calibration import Calibration
from tumorcls.model.ensemble import most_members
from tumorcls.model.gate import Gate, GateLimit
from tumorcls.model.weights import stored_names

CARD = "tumorcls.json"
"""The member of the archive that holds the card; Keras leaves it alone."""

GATE = "tumorcls.gate"
"""The member that holds the space of the model's gate: float16, little end first; a model may have none."""

_WEIGHTS = "model.weights.h5"
_MOST_BYTES = 2**27
MOST_WEIGHTS = _MOST_BYTES - 2**23
"""Bytes of all numbers of a network that such a file can hold: seven whole networks, or 25 that are the same up to block 7."""

_FORMAT = 1
_MEMBERS = {
    "metadata.json": 2**16,
    "config.json": 2**23,
    _WEIGHTS: _MOST_BYTES,
    CARD: 2**18,
    GATE: 2**22,
}  # and the most bytes of each
_MAX_BYTES = _MOST_BYTES + 2**24  # of the file
_ARRAYS = Limits(total_bytes=_MOST_BYTES, objects=10_000)
_END = 22  # bytes of a zip archive's last record, which says how long its list of members is
_MAX_LIST = 2**13

_Text = Annotated[str, Field(max_length=500)]
_Members = Annotated[str, Field(max_length=2000)]  # what runs, and how often each
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Provenance(BaseModel):
    """Where a model comes from; what is not named here is a version of a package."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, _Text]

    exported: dict[str, JsonValue] = Field(default={}, max_length=100)
    seed: _Seed = 0
    manifest_sha256: _Hash = ""
    split_sha256: _Hash = ""
    validation: dict[_Text, float | None] = Field(default={}, max_length=100)
    train_images: dict[_Text, int] = Field(default={}, max_length=100)
    validation_images: dict[_Text, int] = Field(default={}, max_length=100)
    averaged: _Members = ""
    held: _Members = ""
    trained_on: Literal["training images", "training and validation images"] = "training images"


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    classes: Annotated[list[_Text], Field(max_length=20)]
    config: dict[str, Any]
    provenance: Provenance
    calibration: Calibration
    gate: GateLimit | None = None
    members: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True)
class Card:
    """What a model's file says of it, checked.

    Attributes:
        classes: Class names in the order of the probabilities.
        config: What it was trained with.
        provenance: Data and split hashes, seed, versions, scores, as they were given; see `Provenance`.
        calibration: How sure it may say it is; its temperature is already in the network's last weights.
        written: Those values of the config that name an environment variable, as its file has them: they are what is kept.
        gate: What says that an image is no slice; None where the model was trained without.
        members: How many the network holds, see `tumorcls.model.ensemble`.
    """

    classes: tuple[str, ...]
    config: TrainConfig
    provenance: Mapping[str, Any]
    calibration: Calibration
    written: Mapping[str, Any] = field(default_factory=dict)
    gate: Gate | None = None
    members: int = 1

    def to_json(self) -> str:
        """Returns the card as text; see `parse_card`. Numbers that are not finite become null, dates text."""
        # Paths alone, since only `data` is expanded again; and these two say what the network is made of.
        paths = ("data",) if self.config.weights in ("imagenet", "none") else ("data", "weights")
        written = {name: value for name, value in self.written.items() if name in paths}
        values = {
            "format": _FORMAT,
            "classes": self.classes,
            "config": {**self.config.model_dump(mode="json"), **written},
            "provenance": dict(self.provenance),
            "calibration": self.calibration,
            "gate": None if self.gate is None else self.gate.limit,
            "members": self.members,
        }
        return _PLAIN.dump_json(values, indent=1).decode()


_PLAIN = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_inf_nan="null"))


def parse_card(text: str | bytes, space: bytes | None, where: str) -> Card:
    """Reads and checks what `Card.to_json` wrote, and the member `GATE` of the same file.

    Raises:
        ModelError: Names the rule that it breaks.
    """
    try:
        card = _Card.model_validate_json(text)
        # Of the data alone, which `evaluate` reads: what the network is made of must not hang on this machine's variables.
        expanded = expand_known({key: card.config[key] for key in ("data",) if key in card.config}, os.environ)
        config = TrainConfig.parse({**card.config, **expanded}, where="config")
    except (ValidationError, ConfigError) as error:
        raise _of_newer_version(text, where) or _refused(where, reason(error)) from None
    if tuple(card.classes) != config.classes:
        raise _refused(where, f"classes: must be {', '.join(config.classes)}; got {', '.join(card.classes)}")
    provenance, gate = card.provenance.model_dump(exclude_unset=True), _gate(space, card.gate, where)
    return Card(config.classes, config, provenance, card.calibration, written_parts(card.config), gate, card.members)


def check_exported(exported: object, where: str) -> None:
    """Refuses the provenance of an exported config that no model's file could hold, before a night is spent on training.

    Raises:
        ConfigError: Names the rule that it breaks.
    """
    try:
        Provenance.model_validate_json(_PLAIN.dump_json({"exported": exported}))
        text = _PLAIN.dump_json({"provenance": {"exported": exported}}, indent=1)  # as a card has it
        most = _MEMBERS[CARD] // 2
        if len(text) > most:
            raise ValueError(f"at most {most:,} bytes as JSON; got {len(text):,}")
    except ValueError as error:
        rule = f"[provenance] must be what `search export` writes; {reason(error)}"
        raise ConfigError(f"{where}: {rule}. Export it again.") from None


def read_model_file(path: Path) -> tuple[Card, bytes]:
    """Reads a model's card, and the file of its weights, which is still to be checked (see `load_weights`).

    Raises:
        ModelError: The file is missing or is not a model that `tumorcls train` saved.
    """
    try:
        if not path.is_file():
            raise ModelError(f"{path}: a model must be a .keras file; there is none. Make one with `tumorcls train`.")
        content = read_whole(path, _MAX_BYTES)
        _check_list(content, str(path))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, str(path))
    except OSError as error:
        raise ModelError(f"{path}: must be readable; got {reason(error)}. Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise _refused(str(path), reason(error)) from None
    return parse_card(members[CARD], members.get(GATE), str(path)), members[_WEIGHTS]


def _gate(space: bytes | None, limit: GateLimit | None, where: str) -> Gate | None:
    if space is None and limit is None:
        return None
    if space is None or limit is None or len(space) % (row := 2 * limit.features) or len(space) < 3 * row:
        raise _refused(where, f"a gate must have a limit, and three or more rows of numbers in {GATE}")
    numbers = np.frombuffer(space, "<f2").astype(np.float16).reshape(-1, limit.features)
    if not np.isfinite(numbers).all() or not (numbers[1] > 0).all():
        raise _refused(where, f"{GATE} must hold finite numbers, and divide by none that is not above 0")
    return Gate(numbers, limit)


def check_members(card: Card, network: keras.Model, content: bytes, where: str) -> None:
    """Refuses a card with more members than the file of its weights can hold, before they are built; the network is of one.

    Raises:
        ModelError: There are more.
    """
    most = most_members(network, card.config.trainable_from, len(content))
    if card.members > most:
        raise _refused(where, f"members must be at most {most}, for which there are weights; got {card.members}")


def load_weights(network: keras.Model, content: bytes, where: str) -> None:
    """Puts the weights that Keras wrote into a `.keras` archive into a network of the same structure.

    Raises:
        ModelError: An array is missing, of another shape or type, or holds numbers that are not finite.
    """
    try:
        with open_hdf5(io.BytesIO(content), where, _ARRAYS) as file:
            for layer, name in zip(network.layers, stored_names(network), strict=True):
                layer.set_weights([_array(file, f"layers/{name}/vars/{index}", v) for index, v in enumerate(layer.weights)])
    except DataError as error:
        raise ModelError(str(error)) from None
    except UNREADABLE as error:
        raise _refused(where, f"its weights cannot be read, {error}") from None
    finalize_normalization(network)


def _check_list(content: bytes, where: str) -> None:
    """Refuses a list of members that would fill the memory; `zipfile` reads it whole. No archive of Keras's ends otherwise."""
    end = content[-_END:]
    length = int.from_bytes(end[12:16], "little")
    if end[:4] != b"PK\5\6" or content[-_END - 20 : -_END].startswith(b"PK\6\7") or length > _MAX_LIST:
        raise _refused(where, "it is not a whole zip archive with a few members")


def _members(archive: zipfile.ZipFile, where: str) -> dict[str, bytes]:
    names = [member.filename for member in archive.infolist()]
    if sorted(names) not in (sorted(_MEMBERS), sorted({*_MEMBERS} - {GATE})):
        raise _refused(where, f"it must hold {', '.join(_MEMBERS)}, each once; got {', '.join(names)!r}")
    contents = {}
    for member in archive.infolist():
        limit = _MEMBERS[member.filename]
        if member.file_size > limit:
            raise _refused(where, f"{member.filename} must be at most {limit:,} bytes; got {member.file_size:,}")
        with archive.open(member) as file:
            contents[member.filename] = file.read(limit)
    return contents


def _array(file: Any, name: str, variable: keras.Variable) -> np.ndarray[Any, Any]:
    stored, shape, dtype = file[name], tuple(variable.shape), np.dtype(variable.dtype)
    counts = stored.dtype.kind in "iu" and dtype.kind in "iu"  # of 64 bits on TensorFlow, of 32 on JAX
    if stored.shape != shape or (stored.dtype != dtype and not counts):
        raise ValueError(f"{name} must be {dtype} of shape {shape}; got {stored.dtype} of shape {stored.shape}")
    value: np.ndarray[Any, Any] = np.asarray(stored[()]).astype(dtype)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite; got {np.count_nonzero(~np.isfinite(value))} numbers that are not")
    return value


def _of_newer_version(text: str | bytes, where: str) -> ModelError | None:
    """Returns what is wrong with a card that a later version wrote; None where another one did."""
    try:
        card = _PLAIN.validate_json(text)
    except ValidationError:
        return None
    provenance, form = card.get("provenance"), card.get("format")
    if version := newer_version(provenance.get("tumorcls") if isinstance(provenance, dict) else None):
        return ModelError(f"{where}: {later_file('a model', version)}")
    if isinstance(form, int) and form > _FORMAT:
        rule = f"must be a model of format {_FORMAT}; got {one_line(str(form), 20)}, of a later version of tumorcls"
        return ModelError(f"{where}: {rule}. Install that version.")
    return None


def _refused(where: str, why: str) -> ModelError:
    return ModelError(f"{where}: must be a model saved by `tumorcls train`; {one_line(why)}. Train it again.")
