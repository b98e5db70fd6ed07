"""What is watched in operation: drift, abstentions, quality, and the challenger's answers beside the champion's."""
