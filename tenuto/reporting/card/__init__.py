"""The model card: what a version is for, what it was made from, how well it does and for whom, in Markdown.

The layout is the workspace's `mlflow/model-card.md.j2`, which a team may change; what it can show is made here, from
the records of the run. Nothing is claimed that nobody stated or measured: what is missing is "not stated".
"""

from tenuto.reporting.card.contents import CardInputs
from tenuto.reporting.card.template import (
    DESCRIPTION_CHARACTERS,
    LONGEST_CHARACTERS,
    check_template,
    description,
    render,
)
from tenuto.reporting.card.timing import with_timing

__all__ = [
    "DESCRIPTION_CHARACTERS",
    "LONGEST_CHARACTERS",
    "CardInputs",
    "check_template",
    "description",
    "render",
    "with_timing",
]
