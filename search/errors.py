"""What can go wrong in search, as one tree.

    SearchError             the user can mend it; the command line prints it as one line and exits with 1
    ├── StudyFileError      the study file cannot be read, or breaks a rule
    ├── StorageError        the storage cannot be opened, read or written
    ├── StudyError          the study in the storage is not there, is busy, or is not the file's
    ├── ObjectiveError      the objective could not start, or failed too often in a row
    ├── WorkerError         a worker process could not start
    ├── DashboardError      the dashboard could not be served
    ├── SubmissionError     the tasks could not be sent to the cluster
    └── ProjectError        a KerasTuner project or HyperModel cannot be read, or does not say enough

Every message is one line and reads *where: rule; what was received. Remedy.* A file may have several errors, a line each.
"""


class SearchError(Exception):
    """Base of every error that search raises on purpose.

    Args:
        *lines: Its message: a line for each thing to mend.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class StudyFileError(SearchError):
    """The study file cannot be read, or breaks a rule."""


class StorageError(SearchError):
    """The storage cannot be opened, read or written."""


class StudyError(SearchError):
    """The study in the storage is not there, is busy, or is not the one that the file describes."""


class ObjectiveError(SearchError):
    """The objective could not start, or failed too often in a row."""


class WorkerError(SearchError):
    """A worker process could not start."""


class DashboardError(SearchError):
    """The dashboard could not be served."""


class SubmissionError(SearchError):
    """The tasks could not be sent to the cluster."""


class ProjectError(SearchError):
    """A KerasTuner project or HyperModel cannot be read, or does not say enough."""
