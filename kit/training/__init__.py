"""From a corpus to out-of-fold predictions: rows, folds, the network, the reference loop and the stacked trainer."""
