"""What can be asked over HTTP: clips, feedback, health, the web page; and how refusals are said."""
