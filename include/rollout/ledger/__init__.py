"""The ledger: append-only JSON records of what every run did, from which reports, the UI page and rollbacks work.

One chain per run and place: ``<lever>/<place>/<dag_id>--<run key>/000001.json`` and so on. A record is created only
if its number is free (a hard link locally, If-None-Match on S3), and carries the SHA-256 of the record before it, so
that a lost, added or edited record breaks the chain. Beside each record stands its mark (marks.py), from whose name one
LIST tells what stands. What concerns a run as a whole (preflight, approval, verdict) stands in a chain whose place is
``estate``; its verdict carries the heads of the place chains.

With a signing key each record is signed, and so are the chains' heads and an index of them (sealing.py):
tools/verify_ledger.py checks it all without this project.
"""

from include.rollout.canonical import canonical
from include.rollout.ledger.records import (
    FIRST_LINK,
    WHOLE_RUN,
    Chain,
    LedgerError,
    Record,
    digest,
    is_complete_restoration,
    last,
    run_key,
    verify_chain,
)
from include.rollout.ledger.secrets import SecretRefusedError, refuse_secrets, without_secrets
from include.rollout.ledger.signing import Signer, SigningKeyError
from include.rollout.ledger.survey import Everything, Kept, Ledger, OpenRun, Survey
from include.rollout.marks import Step

__all__ = [
    "FIRST_LINK",
    "WHOLE_RUN",
    "Chain",
    "Everything",
    "Kept",
    "Ledger",
    "LedgerError",
    "OpenRun",
    "Record",
    "SecretRefusedError",
    "Signer",
    "SigningKeyError",
    "Step",
    "Survey",
    "canonical",
    "digest",
    "is_complete_restoration",
    "last",
    "refuse_secrets",
    "run_key",
    "verify_chain",
    "without_secrets",
]
