"""Mathematics that no model can reach: geometry of vectors, statistics of rates and pairs."""
