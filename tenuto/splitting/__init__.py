"""Who is trained on and who is tested on: the division, its replay, and the rotation of the test set."""
