"""What can go wrong in tumorcls, as one tree.

    TumorclsError           the user can mend it; the command line prints it as one line and exits with 1
    ├── ConfigError         a setting is missing, unknown or out of range
    ├── DataError           a folder, an image, a manifest or a split is not what it must be
    ├── WeightsError        pretrained weights cannot be had
    ├── BackendError        no Keras backend is installed
    ├── ModelError          a file is not a model that tumorcls saved
    └── ExportError         a model cannot be written for other programs

Every message reads *where: rule; what was received. Remedy.*
"""


class TumorclsError(Exception):
    """Base of every error that tumorcls raises on purpose."""


class ConfigError(TumorclsError):
    """A setting is missing, unknown or out of range."""


class DataError(TumorclsError):
    """A folder, an image, a manifest or a split is not what it must be."""


class WeightsError(TumorclsError):
    """Pretrained weights cannot be had."""


class BackendError(TumorclsError):
    """No Keras backend is installed."""


class ModelError(TumorclsError):
    """A file is not a model that tumorcls saved."""


class ExportError(TumorclsError):
    """A model cannot be written for other programs."""
