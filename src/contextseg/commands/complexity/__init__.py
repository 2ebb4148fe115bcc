"""What networks cost: parameters, FLOPs and memory, without computing a number; the papers' complexity tables."""
