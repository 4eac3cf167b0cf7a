"""Three digits in unequal shares: does a model know their proportions? (Thesis, §4.3.2.)"""
