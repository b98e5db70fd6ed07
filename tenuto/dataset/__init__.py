"""The dataset: sources of recordings, how they are taken in, the manifest, and the synthetic starter set."""
