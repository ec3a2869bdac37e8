"""The portal: pages for people. It asks the API from the browser and needs nothing but its own files."""
