"""Who may ask for how much: keys, limits, origins, connections that stall."""
