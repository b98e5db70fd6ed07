"""What runs when, and the `tenuto` command."""
