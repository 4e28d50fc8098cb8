"""Weights and tokenizers: found, fetched, verified, loaded."""
