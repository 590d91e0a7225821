"""From calibration images to a Plan."""
