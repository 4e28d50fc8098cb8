"""Train, finetune, evaluate, calibrate, review."""
