"""`sweep`: many networks and ways to convert them, on the same images and boards, beside each other."""
