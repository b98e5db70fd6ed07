"""From served recordings to labelled ones: which are worth a person's time, their queue, and the page to label on.

Separate from monitoring, which measures: what is chosen here is hard on purpose and says nothing of how often a model
is right.
"""
