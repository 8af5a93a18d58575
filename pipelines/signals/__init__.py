"""Windows of sensor values, their quality and their features, the same for training and serving."""
