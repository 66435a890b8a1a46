"""What tests stand on: fakes, makers of data, harvests as processes."""
