"""IA3: learned factors on channels."""
