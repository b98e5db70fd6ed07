"""The search of `tenuto tune`: what is tried next (`study`) and what a trial comes to (`trials`)."""
