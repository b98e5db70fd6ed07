"""Sound that comes bit by bit: windows, smoothed probabilities and events, and the WebSocket that carries them."""
