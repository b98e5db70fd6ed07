"""Decisions: the promotion policy, the gate that judges by it, its sentences, and the wear of the test set."""
