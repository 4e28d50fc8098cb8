"""Words of existing code that the model did not expect."""
