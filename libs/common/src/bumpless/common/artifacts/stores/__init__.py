"""Where blobs lie, behind one port (`store`), and how they are fetched."""
