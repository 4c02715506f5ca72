"""Files of windows, recordings and labels to the values of `ecgtune.data`."""
