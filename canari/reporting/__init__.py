"""Reports that people read: pages of their own, one file each, with their pictures in them. Ids and counts alone."""
