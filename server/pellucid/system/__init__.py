"""The machine: processes, files, threads."""
