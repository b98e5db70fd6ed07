"""The MLflow registry and the ledger beside it: which version is champion, how a new one gets there, who decided it.

Every change of an alias and every decision goes through one turn (`turns`) and ends as one entry (`mirror`). A run's
verdict is carried out by `registration`, what a person decides by `moves`; `pending` settles what killed runs left;
`champions` and `readings` answer questions.
"""

from tasks.registry.accounts import account
from tasks.registry.champions import Champion, champion
from tasks.registry.decisions import Candidate
from tasks.registry.moves import approve, promote, record, refuse, rollback
from tasks.registry.readings import Verification, aliases, history, models, restore, verify
from tasks.registry.registration import AccountSpentError, CarriedOut, ChampionMovedError, OvertakenError, carry_out

__all__ = [
    "AccountSpentError",
    "Candidate",
    "CarriedOut",
    "Champion",
    "ChampionMovedError",
    "OvertakenError",
    "Verification",
    "account",
    "aliases",
    "approve",
    "carry_out",
    "champion",
    "history",
    "models",
    "promote",
    "record",
    "refuse",
    "restore",
    "rollback",
    "verify",
]
