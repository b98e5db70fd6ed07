"""How a whole model is trained: steps, optimizers, what is frozen, averaged weights, going on after a kill."""
