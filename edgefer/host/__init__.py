"""What edgefer knows of the machine it runs on, and what every room shares."""
