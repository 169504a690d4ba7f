"""Generative models of images, on diffusers."""
