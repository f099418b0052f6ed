"""The base of a study file's tables. It is apart from their rules: each worker imports these, and no models of pydantic's."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of a study file: an unknown key breaks a rule, and so does a value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
