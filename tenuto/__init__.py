"""The audio, learning, decision and lineage code of Tenuto, free of all orchestration."""

__version__ = "0.1.0"
