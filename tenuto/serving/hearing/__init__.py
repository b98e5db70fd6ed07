"""From waves to what a model hears: the exported folder, the classifier, batches, the versions that follow an alias."""
