"""One thin Prefect task per stage of the retrain flow; the work itself is in `tenuto`."""
