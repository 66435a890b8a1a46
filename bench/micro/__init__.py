"""What each stage costs by itself, with neither network nor other stages around it."""
