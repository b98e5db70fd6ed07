"""OpenLineage events of a flow and its stages: what ran, on which data and code, and what it came to.

Every stage, and the flow itself, sends START and then COMPLETE, FAIL (an error) or ABORT (Ctrl-C, or Prefect's own
signal), with the standard facets and two of ours, `tenuto_evaluation` and `tenuto_verdict`. Events hold versions,
hashes, figures and the names of columns: never a clip's id, the name of a recording or the value of a group, so that
an erasure need not look for them in a lineage store.

Events go to `.tenuto/openlineage.jsonl`, one JSON line each, unless OpenLineage's own configuration names another
transport. Nothing that goes wrong with them fails a run, or holds it up for more than `sending.PATIENCE_SECONDS`.
"""

from tasks.openlineage.events import Events, harmless
from tasks.openlineage.known import FLOW, STAGES

__all__ = ["FLOW", "STAGES", "Events", "harmless"]
