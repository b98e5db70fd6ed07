"""Heads on frozen embeddings: the first half of LP-FT, and all that remedies, quick trials and frozen rows train."""

from __future__ import annotations

import logging
from pathlib import Path

from tenuto.learning import embedding, probe, selection
from tenuto.learning.batches import Material
from tenuto.learning.embedding import Encoder
from tenuto.learning.heads import fitting
from tenuto.learning.probe import FittedHead
from tenuto.settings import Params

logger = logging.getLogger(__name__)


def fit_head(material: Material, encoder: Encoder, params: Params, cache: Path) -> FittedHead:
    """The head that `params.model.head` names, fitted on the frozen embeddings of the training clips.

    `cache` keeps these. A linear head is where its objective is least; others stop early by the validation clips. For
    pools that are learned it is fitted on means over frames, which is where those start.
    """
    embedded = embedding.embed(material.train, material.data, encoder, cache)
    logger.info("embeddings: %d computed, %d reused", embedded.computed, embedded.reused)
    targets, classes = material.targets(material.train), len(material.labels)
    if params.model.head == "linear":
        return probe.fit(embedded.vectors, targets, classes, c=params.finetune.probe_c, balance=material.balance)
    validation = embedding.embed(material.validation, material.data, encoder, cache).vectors
    truth = material.targets(material.validation)
    return fitting.fit(
        params.model.head,
        embedded.vectors,
        targets,
        classes,
        hidden_size=params.model.hidden_size,
        balance=material.balance,
        selection=lambda head: selection.score(head.logits(validation), truth, material.kind).selection,
        seed=params.seed,
    )
