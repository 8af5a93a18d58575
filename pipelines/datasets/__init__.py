"""Where labelled windows come from: recordings, the simulator and feedback, in one shape for training."""
