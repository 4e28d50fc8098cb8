"""Blind reviews: votes of people on answers of two models."""
