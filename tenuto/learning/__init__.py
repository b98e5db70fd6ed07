"""Training: backbones, preprocessing, augmentation, losses, the linear probe, fine-tuning, and what they make."""
