"""Files of ECG windows, or recordings and their labels, in; checked windows out."""
