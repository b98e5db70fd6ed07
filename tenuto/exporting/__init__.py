"""From a checkpoint to what serves it: one graph with feature extraction inside, held against the checkpoint.

`making` writes the folder that `tenuto.serving.hearing.bundle` documents.
"""
