"""What is observed of a float network on calibration images, and what quantizing a part of it would cost."""
