"""Token ids in, token ids with probabilities out."""
