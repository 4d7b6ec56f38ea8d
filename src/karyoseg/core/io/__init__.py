"""Reading and writing: images, archives, folders, URLs and object stores."""
