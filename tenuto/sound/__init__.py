"""Recordings as sound: decoding, quality, fingerprints, and which recordings are near-duplicates."""
