"""What can be done for rare classes and groups, each tried on the same frozen embeddings of one dataset.

A remedy is a name for choices in params.yaml. Each is tried as a linear probe, which takes seconds where fine-tuning
takes minutes, several times on other training clips and other augmented copies, and scored on the same test clips.
Differences to doing nothing come with intervals, and the remedy to use is one that is shown to help what is rare and
does not cost macro-F1; often that is none.
"""
