"""What may a model's file hold? Everything that is read of a `.keras` archive from a stranger is checked here first.

The network's graph in the file (`config.json`) is never read, so nothing in it can be executed: `tumorcls.model.backbone`
builds the network that the card describes, and only numbers are taken from the file. What else Keras would follow (links to
other files, arrays of any size, members that unpack to gigabytes) is refused before it is read.
"""

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from tumorcls.config.train_config import TrainConfig
from tumorcls.config.variables import expand_known, written_parts
from tumorcls.data.hdf5 import UNREADABLE, Limits, open_hdf5
from tumorcls.errors import ConfigError, DataError, ModelError
from tumorcls.model.calibration import Calibration

CARD = "tumorcls.json"
"""The member of the archive that holds the card; Keras leaves it alone."""

FORMAT = 1

_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json": 2**16, "config.json": 2**23, _WEIGHTS: 2**26, CARD: 2**18}  # and the most bytes of each
_MAX_BYTES = 2**27  # of the file
_ARRAYS = Limits(total_bytes=2**26, objects=5000)
_END = 22  # bytes of a zip archive's last record, which says how long its list of members is
_MAX_LIST = 2**13

_Text = Annotated[str, Field(max_length=500)]
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
    trained_on: Literal["training images", "training and validation images"] = "training images"


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    classes: Annotated[list[_Text], Field(max_length=20)]
    config: dict[str, Any]
    provenance: Provenance
    calibration: Calibration


class Card(BaseModel):
    """What a model's file says of it, checked.

    Attributes:
        classes: Class names in the order of the probabilities.
        config: What it was trained with.
        provenance: As it was given; see `Provenance`.
        calibration: How sure it may say it is.
        written: Those values of the config that name an environment variable, as the config's file has them.
    """

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    config: TrainConfig
    provenance: Mapping[str, Any]
    calibration: Calibration
    written: Mapping[str, Any] = {}

    def to_json(self) -> str:
        """Returns the card as text; see `parse`. Numbers that are not finite become null, dates text."""
        written = dict(self.written)
        if self.config.weights in ("imagenet", "none"):  # these two decide what the network is made of
            written.pop("weights", None)
        values = {
            "format": FORMAT,
            "classes": self.classes,
            "config": {**self.config.model_dump(mode="json"), **written},
            "provenance": dict(self.provenance),
            "calibration": self.calibration,
        }
        return _PLAIN.dump_json(values, indent=1).decode()

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> "Card":
        """Reads and checks what `to_json` wrote.

        Raises:
            ModelError: Names the rule that it breaks.
        """
        try:
            card = _Card.model_validate_json(text)
            # Of the data alone, which `evaluate` reads: what the network is made of must not hang on this machine's variables.
            found = expand_known({key: card.config[key] for key in ("data",) if key in card.config}, os.environ)
            config = TrainConfig.parse({**card.config, **found}, where="config")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise _refused(where, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ConfigError as error:
            raise _refused(where, str(error)) from None
        if tuple(card.classes) != config.classes:
            raise _refused(where, f"classes: must be {', '.join(config.classes)}; got {', '.join(card.classes)}")
        provenance = card.provenance.model_dump(exclude_unset=True)
        written = written_parts(card.config)
        return cls(classes=config.classes, config=config, provenance=provenance, calibration=card.calibration, written=written)


_PLAIN = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_inf_nan="null"))


def check_exported(exported: object, where: str) -> None:
    """Refuses the provenance of an exported config that no model's file could hold, before a night is spent on training.

    Raises:
        ConfigError: Names the rule that it breaks.
    """
    try:
        text = _PLAIN.dump_json({"exported": exported})
        Provenance.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    else:
        if len(text) <= _MEMBERS[CARD] // 2:
            return
        reason = f"at most {_MEMBERS[CARD] // 2:,} bytes as JSON; got {len(text):,}"
    raise ConfigError(f"{where}: [provenance] must be what `search export` writes; {_one_line(reason)}. Export it again.")


def read_model_file(path: Path) -> tuple[Card, bytes]:
    """Reads a model's card and the file of its weights, which is still to be checked; see `load_weights`.

    Raises:
        ModelError: The file is missing or is not a model that `tumorcls train` saved.
    """
    try:
        if not path.is_file():
            raise ModelError(f"{path}: a model must be a .keras file; there is none. Make one with `tumorcls train`.")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise _refused(str(path), f"it must have at most {_MAX_BYTES // 2**20} MiB; got {size // 2**20:,}")
        content = path.read_bytes()
        _check_list(content, str(path))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, str(path))
            card, weights = members[CARD], members[_WEIGHTS]
    except OSError as error:
        raise ModelError(f"{path}: must be readable; got {error.strerror or error}. Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise _refused(str(path), str(error) or type(error).__name__) from None
    return Card.parse(card, str(path)), weights


def load_weights(network: keras.Model, content: bytes, where: str) -> None:
    """Puts the weights of a checked model's file into a network of the same structure.

    Args:
        network: From `tumorcls.model.backbone.build_network`.
        content: The file of weights that Keras writes into a `.keras` archive.
        where: The model's file, for the message of an error.

    Raises:
        ModelError: An array is missing, of another shape or type, or holds numbers that are not finite.
    """
    try:
        with open_hdf5(io.BytesIO(content), where, _ARRAYS) as file:
            for layer, name in _named(network):
                values = []
                for index, variable in enumerate(layer.weights):
                    values.append(_array(file, f"layers/{name}/vars/{index}", tuple(variable.shape), variable.dtype))
                layer.set_weights(values)
    except DataError as error:
        raise ModelError(str(error)) from None
    except UNREADABLE as error:
        raise _refused(where, f"its weights cannot be read, {error}") from None
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _check_list(content: bytes, where: str) -> None:
    """Refuses a list of members that would fill the memory; `zipfile` reads it whole. No archive of Keras's ends otherwise."""
    end = content[-_END:]
    length = int.from_bytes(end[12:16], "little")
    if end[:4] != b"PK\5\6" or content[-_END - 20 : -_END].startswith(b"PK\6\7") or length > _MAX_LIST:
        raise _refused(where, "it is not a whole zip archive with a few members")


def _members(archive: zipfile.ZipFile, where: str) -> dict[str, bytes]:
    names = [member.filename for member in archive.infolist()]
    if sorted(names) != sorted(_MEMBERS):
        raise _refused(where, f"it must hold {', '.join(_MEMBERS)}, each once; got {', '.join(names)!r}")
    contents = {}
    for member in archive.infolist():
        limit = _MEMBERS[member.filename]
        if member.flag_bits & 1 or member.file_size > limit:
            raise _refused(where, f"{member.filename} must be at most {limit:,} bytes, not encrypted; got {member.file_size:,}")
        with archive.open(member) as file:
            contents[member.filename] = file.read(limit)
    return contents


def _named(network: keras.Model) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Yields the layers that have weights with the names that Keras gives them in a file: by class, numbered in order."""
    from keras.src.utils.naming import to_snake_case

    used: dict[str, int] = {}
    for layer in network.layers:
        name = to_snake_case(type(layer).__name__)
        number = used[name] = used.get(name, -1) + 1
        if layer.weights:
            yield layer, f"{name}_{number}" if number else name


def _array(file: Any, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    found = file[name]
    if found.shape != shape or found.dtype != np.dtype(dtype):
        raise ValueError(f"{name} must be {dtype} of shape {shape}; got {found.dtype} of shape {found.shape}")
    value: np.ndarray[Any, Any] = np.asarray(found[()])
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite; got {np.count_nonzero(~np.isfinite(value))} numbers that are not")
    return value


def _refused(where: str, reason: str) -> ModelError:
    return ModelError(f"{where}: must be a model saved by `tumorcls train`; {_one_line(reason)}. Train it again.")


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split())[:200])
