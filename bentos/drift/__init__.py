"""Two numbers, two classes, and a border that may move."""
