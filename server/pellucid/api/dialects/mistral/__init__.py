"""Mistral's route for infill."""
