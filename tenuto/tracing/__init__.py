"""Where everything came from: lineage, the ledger of decisions, the audit, erasure and reproduction."""
