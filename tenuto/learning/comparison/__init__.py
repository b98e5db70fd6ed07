"""Several backbones and heads on one dataset and the same splits, side by side.

A row is a training as a retrain would do it: a head on frozen embeddings, or with everything fine-tuned, or a small
network from random weights. All rows answer the same test clips, so that differences are paired. What is chosen is
chosen on the validation clips: the best of many on the test clips would be flattered by them. A finished row is kept
with its answers and is not computed again for the same dataset, settings and code.
"""
