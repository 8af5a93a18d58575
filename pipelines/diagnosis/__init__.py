"""From votes to one calibrated, explained diagnosis a window; knows the detectors' votes, not their models."""
