"""VeRA: trained scales of one random low-rank pair."""
