"""What takes how long, as ratios measured in one run: ``make bench``."""
