"""Faces in pictures: found, followed from frame to frame, cut out as the Spec says, judged by how they show."""
