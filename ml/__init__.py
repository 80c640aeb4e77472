"""Pure algorithms: arrays and frozen configurations in, arrays out; no files, no clock, no environment."""
