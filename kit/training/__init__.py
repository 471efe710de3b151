"""From a shard to out-of-fold predictions: rows, folds, the network and the readable training loop."""
