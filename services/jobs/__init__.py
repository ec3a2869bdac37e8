"""Work that begins and ends: training versions, and what a platform on a cluster needs done now and then."""
