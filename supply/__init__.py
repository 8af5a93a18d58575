"""What HDX is built from and how: the lock, the bill of materials, and the wheel, the same bytes each time."""
