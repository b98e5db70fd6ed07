"""The errors that Tenuto raises on purpose.

TenutoError                 what came, what was wanted, what to do; the command line prints it without a traceback
|-- SettingsError           params.yaml, expectations.yaml, promotion.yaml or --set
|-- WorkspaceError          not a workspace, or one that is in use or incomplete
|-- SourceError             a source of recordings that cannot be read at all
|-- ClipError               one recording that cannot be used; carries the quarantine reason
|-- DatasetError            data.dvc, the manifest or the bytes they name
|-- BackboneError           a backbone that cannot be loaded or does not fit the data
|-- ExportError             a checkpoint that no graph can be made of which answers as it does
|-- TrainingError           too few clips or classes to train or to evaluate
|-- RegistryError           a version, alias or decision that is not there or cannot be changed that way
|-- LedgerError             a record of decisions that was touched, or an alias moved behind its back
`-- ServerError             a Prefect or MLflow server that does not answer
"""


class TenutoError(Exception):
    """Says what came, what was wanted and what to do next."""


class SettingsError(TenutoError):
    """A choice in a settings file or on the command line that cannot be used."""


class WorkspaceError(TenutoError):
    """The folder is no workspace, or the workspace is busy or incomplete."""


class SourceError(TenutoError):
    """A source of recordings that cannot be read at all."""


class ClipError(TenutoError):
    """One recording that cannot be used; `reason` is its slug in the quarantine table."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DatasetError(TenutoError):
    """The dataset version, its manifest or the bytes that they name are missing or damaged."""


class BackboneError(TenutoError):
    """A backbone that cannot be loaded or does not fit the data."""


class ExportError(TenutoError):
    """A checkpoint that cannot be exported, or whose graphs do not answer as it does; the message says why."""


class TrainingError(TenutoError):
    """Too few clips or classes to train or to evaluate."""


class RegistryError(TenutoError):
    """A version, an alias or a decision that is not there, or cannot be changed in the way asked for."""


class LedgerError(TenutoError):
    """The record of decisions was touched, or an alias was moved behind its back."""


class ServerError(TenutoError):
    """A Prefect or MLflow server that does not answer."""
