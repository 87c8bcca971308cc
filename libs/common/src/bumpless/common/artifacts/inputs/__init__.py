"""Trees as they come from build tools: directories, tars, wheels and OCI images, each made a plain directory.

`source` is the way in. Every path, link and type is checked as strictly as in a package.
"""
